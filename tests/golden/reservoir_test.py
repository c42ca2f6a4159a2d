"""memring verify on a reservoir's draws: made of the fixtures whose memories are all alive, or the nearest ones, since that is
what draws may say as well. With other members it fails, and names what differs.

Usage: reservoir_test.py MEMRING FOLDER
SPDX-License-Identifier: Apache-2.0
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

MEMRING, FOLDER = sys.argv[1], Path(sys.argv[2])
FORMAT = "memring-peer-uio-reservoir-1"


def draw(fixture, reach, places):
    """A copy with draws by which each memory is alive for the next `reach` losses, of a reservoir of `places`."""
    with h5py.File(fixture, "r+") as file:
        segments = -(-file["batch/tokens"].shape[1] // 8)  # both have segments of 8
        distance = numpy.subtract.outer(numpy.arange(segments), numpy.arange(segments))
        file.attrs["format"] = FORMAT
        file["draw/alive"] = ((distance > 0) & (distance <= reach)).astype("i4")
        file["draw/reservoir"] = numpy.int64(places)
        file.copy("expect/grads", "expect/grads_unweighted")
        return segments


def verify(path, *options):
    return subprocess.run([MEMRING, "verify", path, "--device.dtype=fp64", *options], capture_output=True, text=True, check=False)


def wrong(result):
    return [line.split()[0] for line in result.stdout.splitlines() if line.endswith("too large")]


with tempfile.TemporaryDirectory() as folder:
    for name, reach in (("uio_full.h5", 99), ("uio_window2.h5", 2)):
        copy = shutil.copy(FOLDER / name, folder)
        segments = draw(copy, reach, 99)  # as many places as never give a weight
        for options in ((), ("--tbptt.recompute=always",)):
            result = verify(copy, *options)
            if result.returncode != 0 or "unweighted" not in result.stdout:
                sys.exit(f"{name}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
        with h5py.File(copy, "r+") as file:
            file["draw/alive"][2, 1] = 0
            file["draw/alive"][3:, 1] = 0
        if wrong(verify(copy)) != ["gradients", "unweighted"]:
            sys.exit(f"{name} with another member: {verify(copy).stdout}")
        copy = shutil.copy(FOLDER / name, folder)
        draw(copy, reach, 1)  # weights of up to the number of segments, on what is not of a reservoir
        if wrong(verify(copy)) != ["gradients"]:
            sys.exit(f"{name} with weights: {verify(copy).stdout}")
        with h5py.File(copy, "r+") as file:
            del file["draw/alive"]
            file["draw/alive"] = numpy.zeros((segments + 1, segments + 1), "i4")
        result = verify(copy)
        if result.returncode != 65 or "/draw/alive" not in result.stderr:
            sys.exit(f"{name} with draws of other segments: exit code {result.returncode}\n{result.stderr}")
