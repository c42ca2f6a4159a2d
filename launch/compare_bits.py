#!/usr/bin/env python3
"""Says whether two memring programs compute the same bits: ten training steps of every memory, data type and mesh that one
machine can hold (every loss, norm and learning rate, then weights and optimizer state), and the fixtures' errors.

Usage: compare_bits.py OLD NEW [--only TEXT]
  --only TEXT  only cases whose name holds this
Exit: 0 the same bits, 1 others, 2 usage, 3 a program failed. Needs python3-h5py.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import h5py

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = sorted((HERE.parent / "tests" / "golden").glob("[!u]*.h5"))  # memring does not know UIO yet
STEPS = 10
MODEL = ("--model.layers=3", "--model.dim=48", "--model.heads=4", "--model.kv_heads=2", "--model.vocab=256", "--data.length=150",
         "--data.batch=4", "--optimizer.lr=3e-3", "--optimizer.warmup=3", "--log.every=1",
         f"--run.steps={STEPS}", "--checkpoint.every_minutes=0")
MEMORIES = {  # ragged segments: 150 = 4 x 37 + 2
    "none": (),
    "segments": ("--segment.length=37",),
    "rmt": ("--memory.kind=rmt", "--memory.tokens=5", "--segment.length=37"),
    "rmt block": ("--memory.kind=rmt", "--memory.tokens=5", "--memory.mask=block", "--segment.length=37"),
    "armt": ("--memory.kind=armt", "--memory.tokens=5", "--memory.key_dim=8", "--segment.length=37"),
}
MESHES = {"one rank": (1, 2, ()), "2 data": (2, 1, ()), "2 token": (2, 1, ("--mesh.token=2",)), "2 segment": (2, 1, ("--mesh.segment=2",))}
WAYS = {
    "full": (),
    "recomputed": ("--tbptt.recompute=always",),
    "boundaries": ("--tbptt.recompute=always", "--tbptt.boundaries=2"),
    "window": ("--tbptt.mode=window", "--tbptt.window=2"),
    "unbiased": ("--tbptt.mode=unbiased", "--tbptt.cut=0.4"),
    "strict": ("--run.deterministic=strict", "--run.block=16"),
}
STREAMS = "--data.micro_batch=2"  # but for strict, which computes each sequence by itself


def cases():
    """(name, ranks, arguments) of every training run."""
    for memory, mesh, dtype in itertools.product(MEMORIES, MESHES, ("fp32", "bf16", "fp64")):
        if memory in ("none", "segments") and mesh == "2 segment":
            continue  # shares nothing over that axis
        ranks, threads, axes = MESHES[mesh]
        yield f"{memory}, {mesh}, {dtype}", ranks, (*MEMORIES[memory], *axes, STREAMS, f"--device.threads={threads}", f"--device.dtype={dtype}")
    for memory, mesh, way in itertools.product(("rmt", "armt"), MESHES, list(WAYS)[1:]):
        ranks, threads, axes = MESHES[mesh]
        yield (f"{memory}, {mesh}, {way}", ranks,
               (*MEMORIES[memory], *axes, *WAYS[way], *([] if way == "strict" else [STREAMS]), f"--device.threads={threads}", "--device.dtype=fp32"))


def run(*command, codes=(0,)):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600,
                            check=False, env={**os.environ, "OMP_WAIT_POLICY": "passive"})  # threads may outnumber free cores
    if result.returncode not in codes:
        print(f"compare_bits.py: `{' '.join(map(str, command))}` ended with {result.returncode}:\n{result.stderr.strip()[-800:]}",
              file=sys.stderr)
        sys.exit(3)
    return result.stdout


def start(program, ranks):
    return [program] if ranks == 1 else [HERE / "mpirun.sh", ranks, program]


def trained(program, folder, ranks, arguments):
    """What a run computed: name -> exact value."""
    config, run_dir = folder / "empty.ini", folder / "run"
    config.touch()
    run(*start(program, ranks), "train", config, f"--run.dir={run_dir}", f"--data.path={folder / 'text.h5'}", *MODEL, *arguments)
    found = {}
    for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        if record["kind"] == "step":
            found |= {f"{key} of step {record['step']}": record[key] for key in ("loss", "norm", "lr", "tokens")}
    with h5py.File(newest_state(run_dir), "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None)
    subprocess.run(["rm", "-r", run_dir], check=True)
    return found


def newest_state(run_dir):
    return next(sorted((run_dir / "checkpoints").glob("step-*"))[-1].glob("*.h5"))


def verified(program, ranks, arguments):
    """The fixtures' errors as `memring verify` prints them: they change with almost any bit."""
    lines = run(*start(program, ranks), "verify", *FIXTURES, *arguments, codes=(0, 1)).splitlines()
    return {f"line {number}": line for number, line in enumerate(lines, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("programs", nargs=2, metavar="PROGRAM", type=pathlib.Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    programs = [program.resolve() for program in arguments.programs]
    compared, other = 0, []

    def compare(name, old, new):
        nonlocal compared
        compared += 1
        different = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if different:
            other.append(name)
            print(f"{name}: {len(different)} of {len(old)} values differ, first {different[0]}")

    with tempfile.TemporaryDirectory(prefix="memring-bits-") as name:
        folder = pathlib.Path(name)
        letters = random.Random(1)
        (folder / "text").write_text("".join(letters.choice("the long memory of a ring ") for _ in range(20_000)), "utf-8")
        run(programs[0], "pack", folder / "text", "--out", folder / "text.h5")
        for case, ranks, keys in cases():
            if arguments.only in case:
                compare(case, *(trained(program, folder, ranks, keys) for program in programs))
        for (mesh, (ranks, threads, axes)), dtype in itertools.product(MESHES.items(), ("fp32", "fp64")):
            case = f"fixtures, {mesh}, {dtype}"
            if arguments.only in case:
                keys = (*axes, f"--device.threads={threads}", f"--device.dtype={dtype}")
                compare(case, *(verified(program, ranks, keys) for program in programs))
    print(f"{compared} cases compared: {len(other)} with other bits" if other else f"{compared} cases compared: the same bits")
    return 1 if other else 0 if compared else 2


if __name__ == "__main__":
    sys.exit(main())
