#!/usr/bin/env bash
# The same training steps in PyTorch (eager, then compiled) and in memring, in turns; prints both sides and their ratio.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/compare_pytorch.sh [--dtype fp32|bf16] [BENCHMARK...]
#   BENCHMARK: step rmt-step attention step-large (default: the first three)
#   PYTHON=python3 is the interpreter that has torch (pip install torch). Give it an idle machine.
# Exit: 0, 2 usage or no PyTorch, 3 a benchmark failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dtype=fp32
if [[ ${1:-} == --dtype ]]; then
  dtype=${2:?launch/compare_pytorch.sh: --dtype needs fp32 or bf16}
  shift 2
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import torch' 2> /dev/null; then
  echo "launch: $python has no PyTorch; install it (pip install torch), or name an interpreter that has it: PYTHON=..." >&2
  exit 2
fi
launch/install_packages.sh
launch/build.sh
if (($# == 0)); then
  set -- step rmt-step attention
fi
for benchmark in "$@"; do
  ways=("" "--compile")
  if [[ $benchmark == attention ]]; then
    ways=("")  # one library call
  fi
  for way in "${ways[@]}"; do
    python3 launch/compare.py --rounds 5 "$python tests/peers/pytorch_step.py $benchmark $way --dtype $dtype --pairs 5" \
      "build/cpu/bin/memring bench $benchmark --device.dtype=$dtype --pairs 5" || exit 3
    echo
  done
done
