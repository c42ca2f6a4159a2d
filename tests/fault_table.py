#!/usr/bin/env python3
"""Renders docs/faults.md, the table of faults that the tests injected, from the log of launch/test.sh --long.

Usage: fault_table.py LOG OUT | fault_table.py --self-test
LOG holds a JSON object a line, as record_fault() of tests/e2e/runs.py writes it: row, fault, injected, result. Lines that
differ only in `injected` become one with the sum.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

# What each row of the fault matrix is about, in its order.
ROWS = {
    "C1": "killed at each point of a save",
    "C2": "killed at random times",
    "C3": "launcher or writer killed",
    "C4": "power lost before data was durable",
    "C5": "the system refuses a call of save or load",
    "C6": "damaged checkpoints",
    "C7": "other ranks and meshes on resume",
    "C8": "each sample exactly once over restarts",
    "C9": "state changed right after save() returned",
    "C10": "two jobs on one run directory, clocks that jump",
    "C11": "older, newer and foreign formats",
    "H1": "a rank that hangs or dies",
    "H2": "slow is not hung",
    "H3": "a slow rank is named",
    "H4": "signals",
    "H5": "a start with wrong ranks or hosts",
    "N1": "NaN and Inf",
    "N2": "flipped bits in memory",
    "N3": "loss spikes",
    "F1": "mutated input of the readers",
    "F2": "mutated checkpoints at the gate before HDF5",
    "F3": "safetensors conformance",
    "F4": "mutated configurations",
    "P1": "training held up by a save",
    "P2": "speed of save and load",
    "P3": "memory of many saves",
    "P4": "time to recover",
    "S1": "many faults, one after the other",
    "S2": "sanitizers over the suite",
}


def read_log(lines):
    """(row, fault, result) -> injected, in the order of the rows."""
    sums = {}
    for line in filter(str.strip, lines):
        entry = json.loads(line)
        if entry["row"] not in ROWS:
            raise ValueError(f'"{entry["row"]}" is no row of the fault matrix: {line.strip()}')
        key = entry["row"], entry["fault"], entry["result"]
        sums[key] = sums.get(key, 0) + int(entry["injected"])
    order = list(ROWS)
    return dict(sorted(sums.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def render(sums, date, machine, version):
    rows = len({key[0] for key in sums})
    lines = [
        "# Injected faults",
        "",
        "Written by `launch/test.sh --long`: do not edit. Each line is a kind of fault that the tests injected into the real",
        "program, how often, and what came of it every time. Rows are those of the fault matrix (C checkpoints, H ranks and",
        "hangs, N numbers, F input, P figures, S whole runs); a row that is not here was not tried.",
        "",
        f"{date}, {machine}, {version}; {sum(sums.values()):,} faults of {len(sums)} kinds in {rows} rows.",
        "",
        "| row | about | fault | injected | result |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row} | {ROWS[row]} | {cell(fault)} | {injected:,} | {cell(result)} |"
              for (row, fault, result), injected in sums.items()]
    return "\n".join(lines) + "\n"


def this_machine():
    models = {line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
              if line.startswith("model name")}
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{len(os.sched_getaffinity(0))} cores of {' and '.join(sorted(models)) or platform.machine()}, {system}"


def this_version():
    root = pathlib.Path(__file__).parent
    result = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return f"memring {result.stdout.strip()}" if result.returncode == 0 else "memring"


def self_test():
    log = ['{"row": "H1", "fault": "SIGKILL | a rank", "injected": 2, "result": "ended"}\n', "\n",
           '{"row": "C10", "fault": "b", "injected": 1000, "result": "x"}\n',
           '{"row": "C2", "fault": "a", "injected": 1, "result": "x"}\n',
           '{"row": "H1", "fault": "SIGKILL | a rank", "injected": 3, "result": "ended"}\n']
    sums = read_log(log)
    text = render(sums, "today", "here", "this")
    assert [key[0] for key in sums] == ["C2", "C10", "H1"], sums
    assert "| H1 | a rank that hangs or dies | SIGKILL \\| a rank | 5 | ended |" in text, text
    assert "today, here, this; 1,006 faults of 3 kinds in 3 rows." in text, text
    try:
        read_log(['{"row": "Z9", "fault": "a", "injected": 1, "result": "x"}'])
    except ValueError:
        return
    raise AssertionError("an unknown row was taken")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    if len(arguments) != 2:
        print(__doc__.split("\n")[2], file=sys.stderr)
        return 2
    try:
        sums = read_log(pathlib.Path(arguments[0]).read_text("utf-8").splitlines(keepends=True))
    except (OSError, ValueError, KeyError) as error:
        print(f"fault_table.py: {arguments[0]}: {error}", file=sys.stderr)
        return 1
    text = render(sums, datetime.date.today().isoformat(), this_machine(), this_version())
    pathlib.Path(arguments[1]).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
