#!/usr/bin/env bash
# Everything that only a GPU can tell, in one go and one report: whether fibers are right about the hardware, operators, fixtures,
# then speed. A step has a time limit and is left out where less is left than that; no step can lose what an earlier one found.
# It runs from a bundle (launch/bundle.sh) as from a checkout, and needs Python beside the GPU; PyTorch, where there is one, is
# measured in turns with memring.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/gpu_check.sh [--minutes N] [--only STEP] [--dry] [--programs FOLDER] [--out DIR]
#   --minutes N        all of it takes no longer (default 8)
#   --only STEP        one step, by its number
#   --dry              fibers in place of a GPU, and tiny sizes: proves this script
#   --programs FOLDER  default: bin of the bundle, or build/cuda/bin (--dry: build/cpu/bin)
#   --out DIR          report.md, report.json and logs go there (default runs/gpu_check-TIME)
# PYTHON=python3 is the interpreter.
# Exit: 0 done, 1 a row failed or is below its floor (the report's first lines), 2 usage.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly home python=${PYTHON:-python3}

# Its number, name and seconds: first what would invalidate the rest, then what no other machine can tell, then speed.
readonly steps=("1 machine 40" "2 instructions 20" "3 operators 120" "4 fixtures 60" "6 sanitizer 60" "7 ceilings 60"
  "8 attention 120")
# What the check shall have, by the number of its step.
readonly later=("1 cuDNN's description of this GPU" "4 2 and 4 ranks on the GPU; NCCL in a world of one"
  "5 train, resume, CPU to GPU and back" "9 steps of a 1B model beside PyTorch's compiled one"
  "10 launches, graphs, one kernel's counters")

minutes=8 only='' how=real programs='' out=runs/gpu_check-$(date +%Y%m%d-%H%M%S)
while (($#)); do
  case $1 in
    --minutes) minutes=${2:?launch/gpu_check.sh: --minutes needs a number} && shift ;;
    --only) only=${2:?launch/gpu_check.sh: --only needs the number of a step} && shift ;;
    --dry) how=dry ;;
    --programs) programs=${2:?launch/gpu_check.sh: --programs needs a folder} && shift ;;
    --out) out=${2:?launch/gpu_check.sh: --out needs a folder} && shift ;;
    *) sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
  esac
  shift
done
if [[ ! $minutes =~ ^[1-9][0-9]*$ ]]; then
  echo "launch: --minutes $minutes is no whole number, 1 or more" >&2
  exit 2
fi
if ! command -v "$python" > /dev/null; then
  echo "launch: there is no $python; name an interpreter that is there: PYTHON=..." >&2
  exit 2
fi
if [[ -e $out/report.json ]]; then
  echo "launch: $out holds a report; give --out another folder" >&2
  exit 2
fi
if [[ -n $only && ! " ${steps[*]%% *} " == *" $only "* ]]; then
  echo "launch: there is no step $only; there are: ${steps[*]%% *}" >&2
  exit 2
fi
if [[ -e $home/run ]]; then
  programs=${programs:-$home/bin}
elif [[ $how == dry ]]; then
  programs=${programs:-$home/build/cpu/bin}
fi
programs=${programs:-$home/build/cuda/bin}
if [[ ! -d $programs ]]; then
  echo "launch: $programs is not there; build first: launch/build.sh --preset $([[ $how == dry ]] && echo cpu || echo cuda)" >&2
  exit 2
fi

readonly deadline=$((SECONDS + 60 * minutes))
mkdir -p "$out"
report() { "$python" "$home/launch/gpu_check_report.py" "$out" "$@"; }

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
  code=0
  timeout --kill-after=5 "$seconds" "$python" "$home/launch/gpu_check_steps.py" "$home" "$programs" "$out" "$how" "$number" &
  wait $! || code=$?
  kill -KILL -- -$! 2> /dev/null || true  # what the step has left: timeout made all of it one process group
  case $code in
    0) ;;
    3)
      report "$number" "all other steps" skipped "there is no usable GPU"
      break
      ;;
    124) report "$number" "$name" fail "ran past its $seconds s: what stands above is all that it found" ;;
    *) report "$number" "$name" fail "ended with $code, see above" "launch/gpu_check.sh --only $number" ;;
  esac
done
if [[ -z $only ]]; then
  for what in "${later[@]}"; do
    report "${what%% *}" "${what#* }" later "not in this check yet"
  done
fi
echo "the report: $out/report.md"
! grep --quiet --extended-regexp '"result": "(fail|low)"' "$out/report.json"
