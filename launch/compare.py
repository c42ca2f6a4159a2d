#!/usr/bin/env python3
"""Runs two benchmark commands in turns and prints the ratio of every figure that both know, with its interval.

Usage: compare.py [--rounds N] [--least RATIO] [--only TEXT] 'COMMAND A' 'COMMAND B'
A command is any that takes --json FILE and writes figures there: `memring bench NAME`, mpirun before it,
tests/peers/pytorch_step.py. The ratio is B / A for speeds and A / B for times and sizes: above 1, B is better.
  --rounds N     turns (default 5): A and B, then B and A, ...
  --least RATIO  fail where the whole interval of a ratio is below this (0.95: a regression of more than 5 %)
  --only TEXT    only figures whose name holds this
Exit: 0, 1 a ratio is too low, 2 usage, 3 a command failed.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

LESS_IS_BETTER = ("s", "ns/token", "MiB", "B")
YARDSTICKS = ("GEMM ceiling", "product", "plain")  # of the machine, not of the program


def figures_of(command, folder):
    """name -> (unit, median) of one run."""
    path = os.path.join(folder, "figures.json")
    result = subprocess.run([*shlex.split(command), "--json", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            check=False)
    if result.returncode not in (0, 1):  # 1: measured, and a budget is missed
        print(f"compare.py: `{command}` ended with {result.returncode}: {result.stderr.strip()[-500:]}\n  Run it alone.", file=sys.stderr)
        sys.exit(3)
    with open(path, encoding="utf-8") as file:
        figures = json.load(file)["figures"]
    os.remove(path)
    group, found = "", {}
    for figure in figures:
        name = figure["name"]
        if name.startswith("  "):  # belongs to the figure above
            name = f"{group}: {name.strip()}"
        else:
            group = name
        found[name] = (figure["unit"], figure["median"])
    return found


def interval(values):
    """The true median lies in it with 95 % confidence, from six values on; the whole range of fewer."""
    values = sorted(values)
    outside = 0
    while len(values) >= 6 and binomial_tail(len(values), outside + 1) <= 0.025:
        outside += 1
    return values[outside], values[-1 - outside]


def binomial_tail(count, most):
    term, total = 0.5 ** count, 0.0
    for i in range(most + 1):
        total += term
        term *= (count - i) / (i + 1)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--least", type=float, default=0.0)
    parser.add_argument("--only", default="")
    parser.add_argument("commands", nargs=2, metavar="COMMAND")
    arguments = parser.parse_args()
    runs = ([], [])
    with tempfile.TemporaryDirectory(prefix="memring-compare-") as folder:
        for turn in range(arguments.rounds):
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                runs[side].append(figures_of(arguments.commands[side], folder))
    names = [name for name in runs[0][0] if name in runs[1][0] and arguments.only in name
             and not any(word in name for word in YARDSTICKS)]
    if not names:
        print("compare.py: the two commands have no figure in common\n  Compare the same benchmark.", file=sys.stderr)
        return 2
    print(f"A: {arguments.commands[0]}\nB: {arguments.commands[1]}\n")
    print(f"{'':<58} {'A':>10} {'B':>10}  {'ratio':>6}  interval, {arguments.rounds} rounds")
    failed = False
    for name in names:
        unit = runs[0][0][name][0]
        a, b = ([run[name][1] for run in side] for side in runs)
        if min(a + b) <= 0:
            continue
        ratios = [y / x if unit not in LESS_IS_BETTER else x / y for x, y in zip(a, b)]
        low, high = interval(ratios)
        short = high < arguments.least
        failed = failed or short
        print(f"{name + ', ' + unit:<58} {statistics.median(a):>10.4g} {statistics.median(b):>10.4g}  "
              f"{statistics.median(ratios):>6.3f}  {low:.3f} .. {high:.3f}{'  TOO LOW' if short else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
