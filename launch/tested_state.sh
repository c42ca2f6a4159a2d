#!/usr/bin/env bash
# Prints everything that the result of a preset's tests depends on, a line each: sources, scripts and fixtures, the programs that
# were built, the libraries that these and the tools of the tests load, the compiler and the CPU. launch/test.sh keeps the lines
# when all tests have passed, and tests again when they are others: a file that is gone counts, an upgraded library, and a build
# folder that was copied to another machine.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/tested_state.sh PRESET
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

folder=build/${1:?launch/tested_state.sh: PRESET is missing}
programs=("$folder"/bin/*)

# By content: a checkout of the same files has other times.
find .ci cmake configs dist kernels launch src tests CMakeLists.txt CMakePresets.json -type f -not -path '*/__pycache__/*' \
  -print0 | sort --zero-terminated | xargs --null sha256sum
sha256sum "${programs[@]}"

cached() { sed -n "s/^$1:[A-Z]*=//p" "$folder/CMakeCache.txt"; }  # a variable of CMake's
mapfile -t tools < <(cached Python3_EXECUTABLE; cached MPIEXEC_EXECUTABLE)
libraries=$(ldd "${programs[@]}" "${tools[@]}" 2> /dev/null || true)  # it fails where one is a script
sed -nE 's|^\s+(.* => )?(/[^ ]+) \(0x.*|\2|p; s|^\s+(.*) => not found|\1|p' <<< "$libraries" | sort --unique |
  while read -r library; do
    stat --dereference --format='library %n, %s bytes, %Y' "$library" 2> /dev/null || echo "library $library: missing"
  done
echo "compiler $("$(cached CMAKE_CXX_COMPILER)" --version | sed -n 1p)"

grep --max-count=1 '^model name' /proc/cpuinfo || uname -m
grep --max-count=1 '^flags' /proc/cpuinfo || true
echo "processors $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)"
