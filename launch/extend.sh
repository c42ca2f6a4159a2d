#!/usr/bin/env bash
# Ways to stretch a model's window, compared in miniature: a model of 128 tokens is trained on with each of them for the same few
# steps of 128 tokens, and then asked for 1,024: for a key at any depth, and for text by position. Leaves a table (extend.md) and a
# picture (extend.svg, where matplotlib is installed).
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/extend.sh [--seeds FIRST-LAST] [--jobs N] [--out DIR]
#   --seeds FIRST-LAST  default 1-3; one number: that seed
#   --jobs N            so many runs side by side, each on one core (default: as many as there are cores)
#   --out DIR           runs, table and picture go there (default runs/extend); a run that is complete is not repeated
# Methods: plain (the model as it is), none (trained on as it was), linear, ntk, yarn (rope.scaling), pose, cream (positions.kind
# with yarn). The text is the C++ standard library that came with the compiler; what is experimental in it is held out.
# Exit: 0 done, 1 a run failed (its log says why), 2 usage or missing packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/seeds.sh

first=1 last=3 jobs=$(nproc) out=runs/extend
take_options "$@"
launch/install_packages.sh plots
launch/build.sh memring
export memring=$PWD/build/cpu/bin/memring out

mkdir -p "$out"
headers=$(g++ -x c++ -E -v /dev/null 2>&1 | sed -n '/^#include </,/^End/s/^ //p' | head -n 1)
[[ -e $out/text.h5 ]] || "$memring" pack "$headers"/{bits,ext,debug,parallel,pstl,tr1} --out "$out/text.h5"
[[ -e $out/held_out.h5 ]] || "$memring" pack "$headers/experimental" --out "$out/held_out.h5"

# settings METHOD
# shellcheck disable=SC2317  # xargs calls it
settings() {
  case $1 in
    linear | ntk | yarn) echo "--rope.scaling=$1 --rope.factor=8" ;;
    pose | cream) echo "--rope.scaling=yarn --rope.factor=8 --positions.kind=$1 --positions.target=1024" ;;
  esac
}

# one TASK METHOD SEED: trains and evaluates; what is there already stays.
# shellcheck disable=SC2317,SC2046  # xargs calls it; settings are words
one() {
  local base=$out/$1-plain-$3 run=$out/$1-$2-$3 data=() held_out=()
  if [[ $1 == text ]]; then
    data=(--data.path="$out/text.h5") held_out=(--data.path="$out/held_out.h5" --data.length=1024 --data.batch=8)
  else
    held_out=(--data.batch=16)
  fi
  if [[ $2 != plain ]]; then
    data+=(--model.from="$base" --run.steps=300 --optimizer.lr=5e-4 --optimizer.warmup=20 --optimizer.schedule=linear)
  fi
  mkdir -p "$run"
  {
    "$memring" train "configs/extend/$1.ini" --run.dir="$run" --run.seed="$3" --device.threads=1 "${data[@]}" $(settings "$2") &&
      if [[ ! -e $run/eval.json ]]; then
        "$memring" eval "$run" --json "$run/eval.json" --device.threads=1 "${held_out[@]}"
      fi
  } > "$run.log" 2>&1 || { echo "launch: $1, $2, seed $3 failed: $(tail -n 1 "$run.log") ($run.log)" >&2; return 1; }
  echo "$1, $2, seed $3: done"
}
export -f one settings

# all METHOD...: of both tasks and each seed.
all() {
  local task method seed
  for task in passkey text; do
    for ((seed = first; seed <= last; ++seed)); do
      for method in "$@"; do
        echo "$task $method $seed"
      done
    done
  done | xargs -P "$jobs" -L 1 bash -c 'one "$@"' one
}
failed=''
all plain && all none linear ntk yarn pose cream || failed=1
/usr/bin/python3 launch/extend_report.py "$out"
exit "${failed:-0}"
