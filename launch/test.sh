#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs the tests.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/test.sh [--preset NAME] [CTEST-ARGUMENT...]
#   launch/test.sh -L unit            only the tests labelled unit (also: ops dist e2e cli golden)
#   launch/test.sh --again            although nothing has changed since all tests passed
#   launch/test.sh --preset asan      the build with AddressSanitizer (also: cpu debug tsan)
# Exit: 0 all tests passed, 2 missing packages, otherwise something failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=cpu again=
while [[ ${1:-} == --preset || ${1:-} == --again ]]; do
  if [[ $1 == --again ]]; then
    again=1
    shift
  else
    preset=${2:?launch/test.sh: --preset needs a name}
    shift 2
  fi
done
launch/install_packages.sh tests
launch/build.sh --preset "$preset"

# Tests that have passed need not run again: programs, scripts and fixtures older than the mark are those that passed.
mark=build/$preset/all-tests-passed
if [[ -z $again && $# == 0 && -e $mark ]] &&
  [[ -z $(find "build/$preset/bin" cmake configs dist kernels launch src tests CMakeLists.txt -newer "$mark" -type f -not -path '*/__pycache__/*' -print -quit) ]]; then
  echo "all tests passed at $(date -r "$mark" '+%F %T'), and nothing has changed since (launch/test.sh --again runs them all the same)"
  exit 0
fi
rm -f "$mark"
start=$(mktemp "build/$preset/tests-started.XXXXXX")
trap 'rm -f "$start"' EXIT
# nproc would obey OMP_NUM_THREADS. The presets ask for the output of tests that fail, and for an error without tests.
ctest --preset "$preset" --parallel "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" "$@"
if (($# == 0)); then
  mv "$start" "$mark"  # as old as the start: what is changed while the tests run counts as changed
fi
