#!/usr/bin/env bash
# Everything that only a GPU can tell, in one go and one report: whether fibers are right about the hardware, operators, fixtures,
# then speed. A step has a time limit and is left out where less is left than that; no step can lose what an earlier one found.
# It runs from a bundle (launch/bundle.sh) as from a checkout, and needs Python beside the GPU; PyTorch, where there is one, is
# measured in turns with memring.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/gpu_check.sh [--minutes N] [--only STEP] [--dry] [--programs FOLDER] [--out DIR]
#   --minutes N        all of it takes no longer (default 8; at most 999)
#   --only STEP        one step, by its number
#   --dry              fibers in place of a GPU, and tiny sizes: proves this script
#   --programs FOLDER  default: bin of the bundle, or build/cuda/bin (--dry: build/cpu/bin)
#   --out DIR          report.md, report.json and logs go there (default runs/gpu_check-TIME)
# PYTHON=python3 is the interpreter, of version 3.8 or later. A signal (INT, TERM, HUP) ends what is running; the report says so.
# Exit: 0 done, 1 a row failed or is below its floor (the report's first lines), 2 usage, 128 and more ended by a signal.
set -euo pipefail
unset CDPATH  # with which cd prints where it went
home=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
readonly home python=${PYTHON:-python3}

# Its number, name and seconds: first what would invalidate the rest, then what no other machine can tell, then speed.
readonly steps=("1 machine 40" "2 instructions 20" "3 operators 120" "4 fixtures 60" "6 sanitizer 60" "7 ceilings 60"
  "8 attention 120")
# What the check shall have, by the number of its step.
readonly later=("1 cuDNN's description of this GPU" "4 2 and 4 ranks on the GPU; NCCL in a world of one"
  "5 train, resume, CPU to GPU and back" "9 steps of a 1B model beside PyTorch's compiled one"
  "10 launches, graphs, one kernel's counters")

refuse() {
  echo "launch: $*" >&2
  exit 2
}
minutes=8 only='' how=real programs='' out=runs/gpu_check-$(date +%Y%m%d-%H%M%S)
while (($#)); do
  if [[ $1 =~ ^--(minutes|only|programs|out)$ && -z ${2:-} ]]; then
    refuse "$1 needs a value; launch/gpu_check.sh --help tells which"
  fi
  case $1 in
    --minutes) minutes=$2 && shift ;;
    --only) only=$2 && shift ;;
    --dry) how=dry ;;
    --programs) programs=$2 && shift ;;
    --out) out=$2 && shift ;;
    *) sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
  esac
  shift
done
[[ $minutes =~ ^[1-9][0-9]{0,2}$ ]] || refuse "--minutes $minutes is no whole number from 1 to 999"
command -v "$python" > /dev/null || refuse "there is no $python; name an interpreter that is there: PYTHON=..."
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null; then
  refuse "$python is no Python of version 3.8 or later, or does not start; name another: PYTHON=..."
fi
if [[ -n $only ]] && ! printf '%s\n' "${steps[@]%% *}" | grep --quiet --line-regexp --fixed-strings -e "$only"; then
  refuse "there is no step $only; there are: ${steps[*]%% *}"
fi
if [[ -e $home/run ]]; then
  programs=${programs:-$home/bin}
elif [[ $how == dry ]]; then
  programs=${programs:-$home/build/cpu/bin}
fi
programs=${programs:-$home/build/cuda/bin}
if [[ ! -d $programs ]]; then
  refuse "$programs is not there; build first: launch/build.sh --preset $([[ $how == dry ]] && echo cpu || echo cuda)"
fi
[[ ! -e $out/report.json ]] || refuse "$out holds a report; give --out another folder"
if ! mkdir -p "$out/logs" || [[ ! -w $out || ! -w $out/logs ]]; then
  refuse "$out cannot be written; give --out a folder that can"
fi

readonly deadline=$((SECONDS + 60 * minutes))
report() { "$python" "$home/launch/gpu_check_report.py" "$out" "$@"; }

# ended SIGNAL NUMBER: what is running would go on, on the GPU and in the report.
running=''
ended() {
  trap '' INT TERM HUP
  if [[ -n $running ]]; then
    kill -KILL -- "-$running" 2> /dev/null || kill -KILL "$running" 2> /dev/null || true
    wait "$running" 2> /dev/null || true
    report "$number" "$name" fail "the check was ended by SIG$1: what stands above is all that it found"
  fi
  echo "the report: $out/report.md" || true
  exit $((128 + $2))
}
trap 'ended HUP 1' HUP
trap 'ended INT 2' INT
trap 'ended TERM 15' TERM
trap '' PIPE  # who reads along may leave: the report has it all

for step in "${steps[@]}"; do
  read -r number name seconds <<< "$step"
  if [[ -n $only && $number != "$only" ]]; then
    continue
  fi
  left=$((deadline - SECONDS))
  if ((left < seconds)); then
    report "$number" "$name" skipped "$left s are left, and it may take $seconds"
    continue
  fi
  code=0 log=$out/logs/$number-step.log
  timeout --kill-after=5 "$seconds" "$python" "$home/launch/gpu_check_steps.py" "$home" "$programs" "$out" "$how" "$number" 2> "$log" &
  running=$!
  wait $running || code=$?
  kill -KILL -- -$running 2> /dev/null || true  # what the step has left: timeout made all of it one process group
  running=''
  case $code in
    0) ;;
    3)
      report "$number" "all other steps" skipped "there is no usable GPU"
      break
      ;;
    124) report "$number" "$name" fail "ran past its $seconds s: what stands above is all that it found" ;;
    *) report "$number" "$name" fail "ended with $code, $log says why: $(tail -n 1 "$log")" "launch/gpu_check.sh --only $number" ;;
  esac
done
if [[ -z $only ]]; then
  for what in "${later[@]}"; do
    report "${what%% *}" "${what#* }" later "not in this check yet"
  done
fi
echo "the report: $out/report.md" || true
! grep --quiet --extended-regexp '"result": "(fail|low)"' "$out/report.json"
