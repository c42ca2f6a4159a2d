#!/usr/bin/env bash
# Trains and evaluates the memory tasks of configs/tasks/ on two ranks: which length a memory learned on a few segments
# carries a fact over. Leaves a table (tasks.md) and a picture (tasks.svg, where matplotlib is installed).
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/tasks.sh [--seeds N] [--out DIR] [--long] [TASK...]
#   TASK: detect memorize reasoning (default: these three), associative; a run that is complete is not repeated
#   --seeds N   each task with seeds 1 ... N (default 1)
#   --out DIR   runs, table and picture go there (default runs/tasks)
#   --long      also evaluates 1,024 and 4,096 segments, with 64 samples in one batch (detect: 2 million tokens a sample)
# Exit: 0 done, 2 usage or missing packages, otherwise memring's own code.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds=1 out=runs/tasks long='' tasks=()
while (($#)); do
  case $1 in
    --seeds) seeds=${2:?launch/tasks.sh: --seeds needs a number}; shift ;;
    --out) out=${2:?launch/tasks.sh: --out needs a folder}; shift ;;
    --long) long=1 ;;
    -*) echo "usage: launch/tasks.sh [--seeds N] [--out DIR] [--long] [TASK...]" >&2; exit 2 ;;
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
  tasks=(detect memorize reasoning)
fi
launch/install_packages.sh plots
launch/build.sh
memring=$PWD/build/cpu/bin/memring

for task in "${tasks[@]}"; do
  for ((seed = 1; seed <= seeds; ++seed)); do
    run=$out/$task-$seed
    launch/mpirun.sh 2 "$memring" train "configs/tasks/$task.ini" --run.dir="$run" --run.seed="$seed"
    if [[ ! -e $run/accuracy.json ]]; then
      launch/mpirun.sh 2 "$memring" eval "$run" --json "$run/accuracy.json"
    fi
    if [[ $long && ! -e $run/accuracy_long.json ]]; then
      launch/mpirun.sh 2 "$memring" eval "$run" --json "$run/accuracy_long.json" --eval.segments=1024,4096 \
        --eval.sequences=64 --data.batch=64
    fi
  done
done
/usr/bin/python3 launch/tasks_report.py "$out"
