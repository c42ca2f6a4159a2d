#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs the tests.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/test.sh [--preset NAME] [CTEST-ARGUMENT...]
#   launch/test.sh -L unit            only the tests labelled unit (also: ops dist e2e cli golden)
#   launch/test.sh --preset asan      the build with AddressSanitizer (also: cpu debug tsan)
# Exit: 0 all tests passed, 2 missing packages, otherwise something failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=cpu
if [[ ${1:-} == --preset ]]; then
  preset=${2:?launch/test.sh: --preset needs a name}
  shift 2
fi
launch/install_packages.sh tests
launch/build.sh --preset "$preset"
# nproc would obey OMP_NUM_THREADS. The presets ask for the output of tests that fail, and for an error without tests.
exec ctest --preset "$preset" --parallel "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" "$@"
