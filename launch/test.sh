#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs the tests.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/test.sh [--preset NAME] [CTEST-ARGUMENT...]
#   launch/test.sh -L unit            only the tests labelled unit (also: ops dist e2e cli golden launch fuzz)
#   launch/test.sh --again            although nothing has changed since all tests passed
#   launch/test.sh --preset asan      the build with AddressSanitizer (also: cpu debug tsan; fuzz, which needs Clang)
#   launch/test.sh --sanitize         under AddressSanitizer and UndefinedBehaviorSanitizer units, operators, fuzzing and few
#                                     ranks; then threads under ThreadSanitizer
#   launch/test.sh --long             clang-tidy on all files, the long forms of the tests that inject faults (hours), then
#                                     docs/faults.md from what they did; and, where Clang is, of the fuzz targets with libFuzzer
# At the end stand the tests that took longest and each test case that was skipped, with its reason.
# Exit: 0 all tests passed, 2 missing packages, otherwise something failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=cpu again='' what=all
while :; do
  case ${1:-} in
    --again) again=1 ;;
    --sanitize | --long) what=${1#--} ;;
    --preset)
      preset=${2:?launch/test.sh: --preset needs a name}
      shift
      ;;
    *) break ;;
  esac
  shift
done
launch/install_packages.sh tests

# build_and_test PRESET TEST-PRESET CTEST-ARGUMENT...
build_and_test() {
  local results=$PWD/build/$1/tests.xml failed=0
  launch/build.sh --preset "$1"
  rm -f "$results"
  # nproc would obey OMP_NUM_THREADS. The presets ask for the output of tests that fail, and for an error without tests.
  ctest --preset "$2" --parallel "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" --output-junit "$results" \
    --test-output-size-passed 10000000 "${@:3}" || failed=$?
  if [[ -e $results ]]; then  # not after ctest -N
    python3 launch/test_report.py "$results"
  fi
  return "$failed"
}

case $what in
  sanitize)
    build_and_test asan sanitize-asan "$@"
    build_and_test tsan sanitize-tsan "$@"
    exit 0
    ;;
  long)
    if (($# == 0)); then
      launch/lint.sh --all
    fi
    log=$PWD/build/cpu/faults.jsonl
    rm -f "$log"
    MEMRING_FAULT_LOG=$log build_and_test cpu long "$@"
    if (($# == 0)); then
      python3 tests/fault_table.py "$log" docs/faults.md
      echo "docs/faults.md says which faults were injected"
    fi
    if command -v clang++ > /dev/null; then
      build_and_test fuzz long-fuzz "$@"
    fi
    exit 0
    ;;
esac

launch/build.sh --preset "$preset"
# Tests that have passed need not run again while all that they depend on is the same.
mark=build/$preset/all-tests-passed
state=$(launch/tested_state.sh "$preset")
if [[ -z $again && $# == 0 && -e $mark && $(< "$mark") == "$state" ]]; then
  echo "all tests passed at $(date -r "$mark" '+%F %T'), and nothing has changed since (launch/test.sh --again runs them all the same)"
  exit 0
fi
rm -f "$mark"
build_and_test "$preset" "$preset" "$@"
if (($# == 0)); then
  printf '%s\n' "$state" > "$mark"  # of the start: what is changed while the tests run counts as changed
fi
