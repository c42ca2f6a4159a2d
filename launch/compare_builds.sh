#!/usr/bin/env bash
# Two builds of memring: do they compute the same bits (launch/compare_bits.py), and is the second slower? Benchmarks run in
# turns, on one rank and on two, and a figure fails where the whole interval of its ratio lies below 0.99.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/compare_builds.sh [--rounds N] [--bits | --speed] OLD NEW [BENCHMARK...]
#   OLD, NEW: two memring programs, for example build/cpu/bin/memring and one kept from before a change
#   BENCHMARK: of `memring bench`, 2:NAME on two ranks (default: step rmt-step attention 2:wavefront 2:ring)
#   --rounds N  turns of each benchmark (default 8)
#   --bits, --speed  only this half
# Exit: 0, 1 other bits or something is slower, 2 usage, 3 a program failed. Speed wants an idle machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rounds=8 bits=1 speed=1
while [[ ${1:-} == --* ]]; do
  case $1 in
    --rounds) rounds=${2:?launch/compare_builds.sh: --rounds needs a number}; shift ;;
    --bits) speed='' ;;
    --speed) bits='' ;;
    *) set -- ;;
  esac
  shift || true
done
if (($# < 2)) || [[ ! -x $1 || ! -x $2 || ! $bits$speed ]]; then
  echo "usage: launch/compare_builds.sh [--rounds N] [--bits | --speed] OLD NEW [BENCHMARK...]; OLD and NEW are memring programs" >&2
  exit 2
fi
old=$1 new=$2
shift 2
if (($# == 0)); then
  set -- step rmt-step attention 2:wavefront 2:ring
fi

result=0
# judge COMMAND...: 1 is a finding and not the end.
judge() {
  local code=0
  "$@" || code=$?
  echo
  ((code <= 1)) || exit 3
  ((code == 0)) || result=1
}
if [[ $bits ]]; then
  judge /usr/bin/python3 "$here/compare_bits.py" "$old" "$new"
fi
if [[ $speed ]]; then
  for benchmark in "$@"; do
    start=''
    if [[ $benchmark == *:* ]]; then
      start="$here/mpirun.sh ${benchmark%%:*} "
    fi
    judge python3 "$here/compare.py" --rounds "$rounds" --least 0.99 \
      "$start$old bench ${benchmark#*:} --pairs 3" "$start$new bench ${benchmark#*:} --pairs 3"
  done
fi
exit "$result"
