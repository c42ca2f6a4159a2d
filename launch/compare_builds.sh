#!/usr/bin/env bash
# Benchmarks two builds of memring in turns and fails where the second is more than 5 % slower.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/compare_builds.sh OLD NEW [BENCHMARK...]
#   OLD, NEW: two memring programs, for example build/cpu/bin/memring and one kept from before a change
#   BENCHMARK: of `memring bench` (default: step rmt-step attention gemm)
# Exit: 0, 1 something is slower, 2 usage, 3 a benchmark failed. Give it an idle machine.
set -euo pipefail
if (($# < 2)) || [[ ! -x $1 || ! -x $2 ]]; then
  echo "usage: launch/compare_builds.sh OLD NEW [BENCHMARK...]; OLD and NEW are memring programs" >&2
  exit 2
fi
old=$1 new=$2
shift 2
if (($# == 0)); then
  set -- step rmt-step attention gemm
fi
result=0
for benchmark in "$@"; do
  code=0
  python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" --rounds 6 --least 0.95 \
    "$old bench $benchmark --pairs 3" "$new bench $benchmark --pairs 3" || code=$?
  echo
  ((code <= 1)) || exit 3
  ((code == 0)) || result=1
done
exit "$result"
