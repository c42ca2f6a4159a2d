#!/usr/bin/env bash
# Trains and evaluates the memory tasks of configs/tasks/: which length a memory learned on a few segments carries a fact
# over, and how sure that is. A recipe is judged by its worst seed. Leaves a table (tasks.md) and a picture (tasks.svg,
# where matplotlib is installed).
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/tasks.sh [--seeds FIRST-LAST] [--jobs N] [--out DIR] [--long] [--longest] [TASK...]
#   TASK: detect memorize reasoning associative (default: all); a run that is complete is not repeated
#   --seeds FIRST-LAST  default 17-26: the ten of docs/memory_tasks.md, with which no recipe was tuned; one number: that seed
#   --jobs N            so many runs side by side, each on one core (default: as many as there are cores)
#   --out DIR           runs, table and picture go there (default runs/tasks)
#   --long              detect and memorize also at 1,024 and 4,096 segments, 64 samples in one batch (detect: 2 million tokens
#                       a sample)
#   --longest           detect also at 100,000 and 200,000 segments, 16 samples in one batch: 50 and 100 million tokens a sample
#                       (some two hours a seed on a core that does 380,000 tokens/s)
# Exit: 0 done, 1 a run failed (its log says why), 2 usage or missing packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. launch/seeds.sh

first=17 last=26 jobs=$(nproc) out=runs/tasks long='' longest='' tasks=()
while (($#)); do
  if take_option "$@"; then
    shift 2
    continue
  fi
  case $1 in
    --long) long=1 ;;
    --longest) longest=1 ;;
    -*) echo "usage: launch/tasks.sh [--seeds FIRST-LAST] [--jobs N] [--out DIR] [--long] [--longest] [TASK...]" >&2; exit 2 ;;
    *)
      if [[ ! -e configs/tasks/$1.ini ]]; then
        echo "launch: there is no task configs/tasks/$1.ini; there are: $(basename -s .ini configs/tasks/*.ini | xargs)" >&2
        exit 2
      fi
      tasks+=("$1")
      ;;
  esac
  shift
done
if ((${#tasks[@]} == 0)); then
  tasks=(reasoning memorize associative detect)
fi
launch/install_packages.sh plots
launch/build.sh memring
export memring=$PWD/build/cpu/bin/memring out long longest

# one TASK SEED: trains and evaluates; what is there already stays.
# shellcheck disable=SC2317  # xargs calls it
one() {
  local run=$out/$1-$2
  mkdir -p "$run"
  {
    "$memring" train "configs/tasks/$1.ini" --run.dir="$run" --run.seed="$2" --device.threads=1 &&
      if [[ ! -e $run/accuracy.json ]]; then
        "$memring" eval "$run" --json "$run/accuracy.json" --device.threads=1
      fi &&
      if [[ $long && ($1 == detect || $1 == memorize) && ! -e $run/accuracy_long.json ]]; then
        "$memring" eval "$run" --json "$run/accuracy_long.json" --device.threads=1 --eval.segments=1024,4096 \
          --eval.sequences=64 --data.batch=64
      fi &&
      if [[ $longest && $1 == detect && ! -e $run/accuracy_longest.json ]]; then
        "$memring" eval "$run" --json "$run/accuracy_longest.json" --device.threads=1 --eval.segments=100000,200000 \
          --eval.sequences=16 --data.batch=16 --eval.control=false
      fi
  } > "$run.log" 2>&1 || { echo "launch: $1 with seed $2 failed: $(tail -n 1 "$run.log") ($run.log)" >&2; return 1; }
  echo "$1, seed $2: done"
}
export -f one

failed=''
for task in "${tasks[@]}"; do
  for ((seed = first; seed <= last; ++seed)); do
    echo "$task $seed"
  done
done | xargs -P "$jobs" -L 1 bash -c 'one "$@"' one || failed=1
/usr/bin/python3 launch/tasks_report.py "$out"
exit "${failed:-0}"
