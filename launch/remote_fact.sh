#!/usr/bin/env bash
# What UIO learns, and what its gradients need: a fact five segments before its question, on a frozen base, with each
# kind of gradient; RMT and ARMT from the same base beside it; and a chain (RMT from scratch) whose gradient is whole, cut
# at a window or cut at random. Leaves tables (remote_fact.md) and a picture of the losses (remote_fact.svg, where
# matplotlib is installed).
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/remote_fact.sh [--seeds FIRST-LAST] [--jobs N] [--out DIR]
#   --seeds FIRST-LAST  default 1-3: those of docs/uio.md, with which nothing was tuned; one number: that seed
#   --jobs N            so many runs side by side, each on one core (default: as many as there are cores)
#   --out DIR           runs, tables and picture go there (default runs/remote_fact); a complete run is not repeated
# Exit: 0 done, 1 a run failed (its log says why), 2 usage or missing packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/seeds.sh

first=1 last=3 jobs=$(nproc) out=runs/remote_fact
take_options "$@"
launch/install_packages.sh plots
launch/build.sh memring
export memring=$PWD/build/cpu/bin/memring out

# settings METHOD SEED: the recipe, and what differs from it. `untrained` is one step of rate 0: UIO's tensors as they
# start, of which the others freeze the transfer head.
# shellcheck disable=SC2317  # xargs calls it
settings() {
  local recipe=${1%%_*} base=''
  case $1 in
    untrained) recipe=uio base="$out/base-$2 --model.train=all --optimizer.lr=0 --run.steps=1" ;;
    uio_*) base=$out/untrained-$2 ;;
    rmt_* | armt_*) base=$out/base-$2 ;;
  esac
  echo "configs/remote_fact/$recipe.ini ${base:+--model.from=$base}"
  case $1 in
    uio_both) echo "--model.train=memory" ;;
    uio_window_2) echo "--tbptt.mode=window --tbptt.window=2 --run.steps=1500" ;;
    uio_unbiased_*) echo "--tbptt.mode=unbiased --tbptt.window=${1##*_}" ;;
    *_frozen) echo "--model.train=memory --optimizer.lr=2e-3" ;;
    chain_window_*) echo "--tbptt.mode=window --tbptt.window=${1##*_}" ;;
    chain_cut_*) echo "--tbptt.mode=unbiased --tbptt.cut=${1##*_}" ;;
  esac
}

# one METHOD SEED: trains and evaluates; what is there already stays.
# shellcheck disable=SC2317,SC2046  # xargs calls it; settings are words
one() {
  local run=$out/$1-$2
  mkdir -p "$run"
  {
    "$memring" train $(settings "$1" "$2") --run.dir="$run" --run.seed="$2" --device.threads=1 &&
      if [[ ! -e $run/accuracy.json ]]; then
        "$memring" eval "$run" --json "$run/accuracy.json" --device.threads=1 --eval.control=false
      fi
  } > "$run.log" 2>&1 || { echo "launch: $1, seed $2 failed: $(tail -n 1 "$run.log") ($run.log)" >&2; return 1; }
  echo "$1, seed $2: done"
}
export -f one settings

# all METHOD...: of each seed.
all() {
  local method seed
  for ((seed = first; seed <= last; ++seed)); do
    for method in "$@"; do
      echo "$method $seed"
    done
  done | xargs -P "$jobs" -L 1 bash -c 'one "$@"' one
}
failed=''
all base && all untrained && all uio_{full,unbiased_{1,2,4},window_2,both} {rmt,armt}_{frozen,all} || failed=1
all chain_{full,cut_{0.1,0.25,0.5},window_{1,3}} || failed=1
/usr/bin/python3 launch/remote_fact_report.py "$out"
exit "${failed:-0}"
