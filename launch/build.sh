#!/usr/bin/env bash
# Builds memring in build/PRESET, which is kept: a second run only looks for changes and says nothing.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/build.sh [--preset NAME] [TARGET...]
# NAME is one of CMakePresets.json (default cpu); without TARGET everything is built. Exit: 0, or 1 when the build fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=cpu
if [[ ${1:-} == --preset ]]; then
  preset=${2:?launch/build.sh: --preset needs a name}
  shift 2
fi
targets=()
if (($# > 0)); then
  targets=(--target "$@")
fi
folder=build/$preset
log=$folder/build.log

# quietly MESSAGE COMMAND...: a terminal sees the command's own progress; a file only MESSAGE, and the log if it fails.
quietly() {
  local message=$1 start=$SECONDS
  shift
  echo "$message"
  if [[ -t 1 && $1 == cmake && $2 == --build ]]; then
    "$@" || exit 1
  elif ! "$@" > "$log" 2>&1; then
    {
      tail -n 60 "$log"
      echo "launch: the build failed (above); all of its output is in $log"
    } >&2
    exit 1
  fi
  if ((SECONDS - start >= 5)); then
    echo "  $((SECONDS - start)) s"
  fi
}

mkdir -p "$folder"
if [[ ! -e $folder/build.ninja || CMakePresets.json -nt $folder/CMakeCache.txt ]]; then
  quietly "configuring $folder" cmake --preset "$preset"
fi
pending=$(cmake --build "$folder" "${targets[@]}" -- -n 2>&1 || true)
if [[ $pending != *"no work to do"* ]]; then
  quietly "building $folder" cmake --build "$folder" "${targets[@]}"
fi
