#!/usr/bin/env bash
# Format and lint: clang-format on all C++ files, shellcheck on all shell scripts, clang-tidy on the C++ files of the program
# that changed since the last release.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/lint.sh [--all | --fix]
#   launch/lint.sh          clang-tidy on what changed since the newest tag v*, the newest changes first and at most 60 files
#                           (about two minutes on two cores); a changed header is read with a file that includes it
#   launch/lint.sh --all    clang-tidy on all files of src, kernels and dist (about five minutes)
#   launch/lint.sh --fix    puts all C++ files into the format, and does no more
# Exit: 0 nothing found, 1 something to mend (it is printed), 2 missing packages or unusable arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly most=60 format=clang-format-14 tidy=clang-tidy-14
what=${1:-}
if [[ $# -gt 1 || ! $what =~ ^(|--all|--fix)$ ]]; then
  sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
launch/install_packages.sh lint

list=$(find src kernels dist tests -name '*.cpp' -o -name '*.h' | LC_ALL=C sort)
mapfile -t sources <<< "$list"
if [[ $what == --fix ]]; then
  "$format" -i "${sources[@]}"
  exit 0
fi
list=$(grep -rlE '^#!(/usr)?/bin/(env )?(ba)?sh' .ci configs launch tests | LC_ALL=C sort)
mapfile -t scripts <<< "$list"

# changed: the C++ files of the program that changed, the newest change first, each once.
changed() {
  local since
  if ! git rev-parse --quiet --verify HEAD > /dev/null 2>&1; then
    echo "launch: no git history here, so what changed is not known: clang-tidy reads the first $most files" >&2
    find src kernels dist -name '*.cpp' | LC_ALL=C sort
    return
  fi
  # Before the first release, or where its tag was not fetched, everything counts as changed.
  since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2> /dev/null || true)
  {
    git diff --name-only HEAD -- src kernels dist
    git ls-files --others --exclude-standard -- src kernels dist
    git log --name-only --format= "${since:+$since..}HEAD" -- src kernels dist
  } | awk '/\.(cpp|h)$/ && !seen[$0]++'
}

# read_with FILE...: of each file what clang-tidy is started with; a header has the file of its name or one that includes it.
read_with() {
  local file
  for file; do
    if [[ $file == *.h && -e ${file%.h}.cpp ]]; then
      echo "${file%.h}.cpp"
    elif [[ $file == *.h && -e $file ]]; then
      grep -rlE --include='*.cpp' "^#include \"(.*/)?${file##*/}\"" src kernels dist | LC_ALL=C sort | sed -n 1p || true
    elif [[ -e $file ]]; then
      echo "$file"
    fi
  done | awk '!seen[$0]++'
}

failed=0
echo "clang-format on ${#sources[@]} files, shellcheck on ${#scripts[@]} scripts"
"$format" --dry-run -Werror "${sources[@]}" || failed=1
shellcheck --external-sources --check-sourced "${scripts[@]}" || failed=1

left=0
if [[ $what == --all ]]; then
  list=$(find src kernels dist -name '*.cpp' | LC_ALL=C sort)
else
  list=$(changed)
  # shellcheck disable=SC2086  # no file name here holds a space
  list=$(read_with $list)
  left=$(($(wc -l <<< "$list") - most))
  list=$(head -n "$most" <<< "$list")
fi
files=()
if [[ -n $list ]]; then
  mapfile -t files <<< "$list"
fi
echo "clang-tidy on ${#files[@]} files$( ((left <= 0)) || echo "; $left that changed earlier are left to launch/lint.sh --all")"
if ((${#files[@]} > 0)); then
  mkdir -p build/cpu
  cmake --preset cpu > build/cpu/configure.log 2>&1 || { cat build/cpu/configure.log >&2; exit 1; }  # which file is compiled how
  # Warnings of system headers are counted on standard error and are nobody's concern.
  printf '%s\0' "${files[@]}" |
    xargs -0 -n 1 -P "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" "$tidy" -p build/cpu -quiet \
      2> >(grep -vE '^[0-9]+ warnings? (and [0-9]+ errors? )?generated|^Suppressed|^Use -header-filter' >&2) || failed=1
fi
if ((failed)); then
  echo "launch: mend what is printed above; launch/lint.sh --fix puts files into the format" >&2
  exit 1
fi
