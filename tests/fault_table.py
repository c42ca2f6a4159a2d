#!/usr/bin/env python3
"""Renders docs/faults.md, the table of faults that the tests injected, from the log of launch/test.sh --long, and below it the
rows of the fault matrix that remain, each with the reason.

Usage: fault_table.py [--add] LOG OUT | fault_table.py --self-test
LOG holds a JSON object a line, as record_fault() of tests/e2e/runs.py writes it: row, fault, injected, result. Lines that
differ only in `injected` become one with the sum. --add keeps the lines of OUT; where LOG has the same fault of the same row,
its line takes the place. One test alone: MEMRING_FAULT_LOG=LOG launch/test.sh -R e2e.signals, then --add.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import os
import pathlib
import platform
import re
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


# What of a row no test injects, and why. A row without an injected fault needs a line here.
REMAINS = {
    "C2": "a second kill while the first is recovered from: kills come one a start",
    "C3": "the processes of the launcher on other hosts: there is one host; the writer is a thread, which dies with its rank",
    "C4": "it takes a file system that drops what was not flushed (FUSE, or a machine to switch off), which the tests' machine has "
          "not; the order of writes, flushes and renames is all of a save that is enumerated (C1)",
    "C9": "dist.checkpoint changes all state right after save() and finds each of ten snapshots whole; it injects no fault to count",
    "C11": "checkpoints of older releases: there is none yet, the format has one version; the first release adds a fixture",
    "H3": "nothing names a slow rank: a report says where ranks stand when one hangs, and no timings of ranks are compared",
    "H5": "a host that is missing or out of reach: two hosts are namespaces of one machine, and its launcher refuses before memring "
          "starts",
    "N1": "e2e.learning and e2e.going_back make gradients infinite, on one and two ranks, count skipped steps and go back; no NaN is "
          "put into one rank's gradient, one weight or one activation",
    "N2": "replicas are not compared while training, so a flipped bit in memory is not found; digests find it on disk only (C6)",
    "N3": "steps are skipped for gradients that are not finite, not for a loss that jumps; going back is by hand "
          "(checkpoint.resume), and e2e.going_back tries it with weights that have unlearned",
    "F3": "safetensors is written (memring convert), and not read yet",
    "P1": "a figure, not a fault: memring bench checkpoint, in BENCHMARKS.md; the long form records it on a disk that is fast enough",
    "P2": "a figure, not a fault: memring bench checkpoint, in BENCHMARKS.md; the long form records it on a disk that is fast enough",
    "P3": "500 saves take longer than their tests may; the writer's one buffer is in the plan of memory, which bench step measures",
    "P4": "recoveries are counted (C1, C2, C8) and must end in time; their times are not: the machine's load decides them",
    "S1": "each kind of fault is injected alone; a soak of hours has no place in a run of the tests",
    "S2": "AddressSanitizer and UndefinedBehaviorSanitizer on units, operators, readers, ranks and two ranks end to end, "
          "ThreadSanitizer on what runs threads of ours (.ci/run); the other tests inject by preloaded libraries, which "
          "sanitizers do not bear, or take a sanitizer too long",
}
TABLE = ["| row | about | fault | injected | result |", "|---|---|---|---|---|"]


def read_log(lines):
    """(row, fault, result) -> injected, in the order of the rows."""
    sums = {}
    for line in filter(str.strip, lines):
        entry = json.loads(line)
        if entry["row"] not in ROWS:
            raise ValueError(f'"{entry["row"]}" is no row of the fault matrix: {line.strip()}')
        key = entry["row"], entry["fault"], entry["result"]
        sums[key] = sums.get(key, 0) + int(entry["injected"])
    return in_order(sums)


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def read_table(text):
    """What render() wrote: (row, fault, result) -> injected."""
    lines = text.splitlines()
    if TABLE[0] not in lines:
        raise ValueError("it holds no table of faults")
    sums = {}
    for line in lines[lines.index(TABLE[0]) + 2:]:
        if not line.startswith("|"):
            break
        row, _, fault, injected, result = (part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", line)[1:-1])
        sums[row, fault, result] = int(injected.replace(",", ""))
    return sums


def added(old, new):
    """`old` with the lines of `new`, each of which takes the place of those with its row and fault."""
    replaced = {key[:2] for key in new}
    return in_order({**{key: injected for key, injected in old.items() if key[:2] not in replaced}, **new})


def in_order(sums):
    order = list(ROWS)
    return dict(sorted(sums.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def render(sums, date, machine, version, note=()):
    rows = {key[0] for key in sums}
    lines = [
        "# Injected faults",
        "",
        "Written by `launch/test.sh --long`: do not edit. Each line is a kind of fault that the tests injected into the real",
        "program, how often, and what came of it every time. Rows are those of the fault matrix (C checkpoints, H ranks and",
        "hangs, N numbers, F input, P figures, S whole runs); what remains of them stands below.",
        "",
        *note,
        f"{date}, {machine}, {version}; {sum(sums.values()):,} faults of {len(sums)} kinds in {len(rows)} rows.",
        "",
        *TABLE,
    ]
    lines += [f"| {row} | {ROWS[row]} | {cell(fault)} | {injected:,} | {cell(result)} |"
              for (row, fault, result), injected in sums.items()]
    remaining = [row for row in ROWS if row in REMAINS or row not in rows]
    lines += [
        "",
        "## What remains",
        "",
        f"Of the {len(ROWS)} rows of the matrix {len(ROWS) - len(remaining)} are injected, {len(rows & set(remaining))} in part, "
        f"{len(set(remaining) - rows)} not at all.",
        "",
        "| row | about | injected | what remains, and why |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row} | {ROWS[row]} | {'in part' if row in rows else 'no'} | "
              f"{cell(REMAINS.get(row, 'its tests did not run'))} |" for row in remaining]
    return "\n".join(lines) + "\n"


ADDED = ("Lines were added one test at a time (`fault_table.py --add`), on machines busy with other tests; those with small numbers",
         "are short forms. The next whole run of `--long` replaces them all. Last addition:", "")


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
    assert set(REMAINS) <= set(ROWS)
    assert f"| C2 | {ROWS['C2']} | in part | {REMAINS['C2']} |" in text, text
    assert f"| C4 | {ROWS['C4']} | no | {REMAINS['C4']} |" in text, text
    assert f"| C1 | {ROWS['C1']} | no | its tests did not run |" in text and f"| C10 | {ROWS['C10']} | no" not in text, text
    assert f"Of the {len(ROWS)} rows of the matrix 2 are injected, 1 in part, 26 not at all." in text, text
    assert read_table(text) == sums, read_table(text)
    more = added(sums, read_log(['{"row": "C10", "fault": "b", "injected": 7, "result": "y"}',
                                 '{"row": "C1", "fault": "b", "injected": 1, "result": "z"}']))
    assert more == {("C1", "b", "z"): 1, ("C2", "a", "x"): 1, ("C10", "b", "y"): 7, ("H1", "SIGKILL | a rank", "ended"): 5}, more
    for wrong in (lambda: read_log(['{"row": "Z9", "fault": "a", "injected": 1, "result": "x"}']), lambda: read_table("# Other")):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("an unknown row, or a file without the table, was taken")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    add = arguments[:1] == ["--add"]
    if len(arguments) != 2 + add:
        print(__doc__.split("\n")[3], file=sys.stderr)
        return 2
    log, out = (pathlib.Path(argument) for argument in arguments[-2:])
    try:
        sums = read_log(log.read_text("utf-8").splitlines(keepends=True))
        if add:
            sums = added(read_table(out.read_text("utf-8")), sums)
    except (OSError, ValueError, KeyError) as error:
        print(f"fault_table.py: {' '.join(arguments[-2:])}: {error}", file=sys.stderr)
        return 1
    out.write_text(render(sums, datetime.date.today().isoformat(), this_machine(), this_version(), ADDED if add else ()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
