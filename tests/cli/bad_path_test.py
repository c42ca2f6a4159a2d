"""Texts, outputs and run directories that cannot be read, written or used, and names that only look wrong.

Usage: see mistakes.py.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mistakes
from mistakes import Mistake, data, io, train, usage

LONG = "a" * 300
PACK = [
    data("missing text", ["pack", "absent.txt", "--out=x.h5"], "input absent.txt does not exist"),
    io("name too long", ["pack", LONG, "--out=x.h5"], "File name too long"),
    io("links in a circle", ["pack", "circle", "--out=x.h5"], "circle", "symbolic links"),
    data("link to nothing", ["pack", "dangling", "--out=x.h5"], "dangling does not exist"),
    data("empty text", ["pack", "empty.txt", "--out=x.h5"], "there is no text for x.h5", "not empty"),
    data("empty standard input", ["pack", "-", "--out=x.h5"], "all input is empty"),
    data("empty folder", ["pack", "empty", "--out=x.h5"], "all input is empty"),
    usage("standard input twice", ["pack", "-", "-", "--out=x.h5"], "standard input (-) is given more than once"),
    usage("empty name", ["pack", "", "--out=x.h5"], "argument 1 of 1 is empty"),
    io("unreadable text", ["pack", "secret.txt", "--out=open/x.h5"], "cannot read secret.txt: Permission denied", nobody=True),
    io("unreadable folder inside", ["pack", "texts", "--out=open/x.h5"], "cannot read texts/closed: Permission denied",
       nobody=True),
    io("one unreadable of two", ["pack", "text.txt", "secret.txt", "--out=open/x.h5"], "secret.txt", "everything", nobody=True),
    usage("output is the input", ["pack", "text.txt", "--out=text.txt"], "text.txt is both input and output"),
    usage("output is the input by another name", ["pack", "text.txt", "--out=./texts/../text.txt"], "is both input and output"),
    usage("output is a link to the input", ["pack", "text.txt", "--out=link.txt"], "is both input and output"),
    io("output is a folder", ["pack", "text.txt", "--out=empty"], "cannot write empty: it is a folder", "Name a file inside"),
    io("output in no folder", ["pack", "text.txt", "--out=no/x.h5"], "there is no folder no", "mkdir -p no"),
    io("output below a file", ["pack", "text.txt", "--out=text.txt/x.h5"], "text.txt is a file"),
    io("output with a long name", ["pack", "text.txt", "--out=" + LONG], "File name too long"),
    io("output with a name that leaves no room", ["pack", "text.txt", "--out=" + "a" * 250], "File name too long"),
    io("output in a circle", ["pack", "text.txt", "--out=circle"], "symbolic links"),
    io("output is a device", ["pack", "text.txt", "--out=/dev/null"], "/dev/null: it is a pipe or a device"),
    io("output is a pipe", ["pack", "text.txt", "--out=pipe"], "pipe: it is a pipe or a device"),
    io("output in /proc", ["pack", "text.txt", "--out=/proc/x.h5"], "/proc/x.h5"),
    io("output in a closed folder", ["pack", "text.txt", "--out=x.h5"], "x.h5", "Permission denied", nobody=True),
    io("disk full at the start", ["pack", "text.txt", "--out=x.h5"], "x.h5", file_limit=0),
    io("disk full in the structure", ["pack", "text.txt", "--out=x.h5"], "x.h5", file_limit=1000),
    io("disk full at the end", ["pack", "text.txt", "--out=x.h5"], "x.h5", "File too large", "Free space", file_limit=22000),
    io("disk full in the tokens", ["pack", "large.txt", "--out=x.h5"], "x.h5", "File too large", file_limit=3_000_000),
    io("disk full over an older file", ["pack", "text.txt", "--out=tokens.h5"], "tokens.h5", file_limit=22000),
    io("result not printed", ["inspect", "tokens.h5"], "cannot write to standard output", "Free space", stdout="/dev/full"),
]

RUNS = [
    train("run directory is a file", "--run.dir=text.txt", 74, "run directory text.txt cannot be made"),
    train("run directory below a file", "--run.dir=text.txt/run", 74, "text.txt/run cannot be made"),
    train("run directory in /proc", "--run.dir=/proc/run", 74, "/proc/run"),
    usage("run directory not in UTF-8", ["train", "base.ini", "--run.dir=caf\udce9"], "byte 3 of run.dir is not UTF-8 (0xe9)"),
    io("run directory in a closed folder", ["train", "base.ini", "--run.dir=new"], "new", "Permission denied", nobody=True),
    io("run directory of another user", ["train", "base.ini", "--run.dir=done"], "done/lock", "Permission denied", nobody=True),
    io("lock is a folder", ["train", "base.ini", "--run.dir=lock_folder"], "cannot open lock_folder/lock: Is a directory"),
    io("metrics are a folder", ["train", "base.ini", "--run.dir=metrics_folder"], "metrics_folder/metrics.jsonl", "Move it away",
       changes=["metrics_folder/"]),
    usage("configuration is a folder", ["train", "base.ini", "--run.dir=config_folder"],
          "config_folder/config.ini: Is a directory",
          changes=["config_folder/lock"]),
    usage("configuration is damaged", ["train", "base.ini", "--run.dir=config_damaged"], "config_damaged/config.ini:1: byte 0",
          changes=["config_damaged/lock"]),
    Mistake("checkpoints are a file", ["train", "base.ini", "--run.dir=checkpoints_file"], 65, ["checkpoints_file/checkpoints"],
            changes=["checkpoints_file/"]),
    usage("run of another model", ["train", "base.ini", "--run.dir=done", "--model.dim=32"], "model.dim: 16 -> 32",
          changes=["done/lock"]),
    Mistake("loss becomes NaN", ["train", "base.ini", "--run.dir=new", "--run.steps=100", "--optimizer.lr=1e300"], 70,
            ["the gradient was not finite in 11 steps in a row", "lower optimizer.lr"], changes=["new"]),
    # What was good before the step that broke the weights is still the newest.
    Mistake("broken weights are not saved", ["train", "base.ini", "--run.dir=good", "--run.steps=100", "--optimizer.lr=1e300",
                                             "--checkpoint.every=1"], 70, ["nothing has been saved since", "lower optimizer.lr",
                                                                           "--checkpoint.resume=2"],
            changes=["good/(lock|config.ini|metrics.*jsonl)"]),
    Mistake("broken weights are not saved at the end", ["train", "base.ini", "--run.dir=good", "--run.steps=3",
                                                        "--optimizer.lr=1e300"], 70,
            ["the weights of step 3", "are not saved", "--checkpoint.resume=2"],
            changes=["good/(lock|config.ini|metrics.*jsonl)"]),
    usage("a step without a checkpoint", ["train", "base.ini", "--run.dir=good", "--checkpoint.resume=7"],
          "holds no checkpoint of step 7; it holds: step 2", begins=True, changes=["good/(lock|config.ini)"]),
    Mistake("checkpoints behind a dead link", ["train", "base.ini", "--run.dir=unmounted"], 65,
            ["unmounted/checkpoints is a link to nowhere, which does not exist", "is mounted"], changes=["unmounted/"]),
    data("eval without a run", ["eval", "empty"], "folder empty is not a run directory", "run.dir"),
    usage("eval of nothing", ["eval", "absent"], "cannot read the configuration absent"),
    data("eval without a checkpoint", ["eval", "untrained"], "untrained/checkpoints holds no good checkpoint", "Train first"),
    data("eval of a checkpoint that is not there", ["eval", "done", "--checkpoint=step-000000009"], "step-000000009"),
    data("eval of a longer sequence than the data", ["eval", "done", "--data.length=1M"], "18,000 tokens"),
    data("eval of another model", ["eval", "done", "--model.dim=32"], "is of another model",
         "model.embed_tokens.weight is [256, 32]"),
    io("result in no folder", ["eval", "done", "--json=no/x.json"], "cannot write no/x.json: No such file", "--json"),
    io("result is a folder", ["eval", "done", "--json=empty"], "cannot write empty: Is a directory"),
    io("result in a closed folder", ["eval", "done", "--json=x.json"], "cannot write x.json: Permission denied", nobody=True),
    io("result on a full disk", ["eval", "done", "--json=/dev/full"], "/dev/full cannot be written"),
    data("inspect of nothing", ["inspect", "absent"], "absent does not exist"),
    data("inspect of an empty folder", ["inspect", "empty"], "folder empty is neither a checkpoint nor a run directory"),
    data("inspect without a checkpoint", ["inspect", "untrained"], "untrained"),
    data("inspect of a damaged checkpoint", ["inspect", "damaged"], "damaged is damaged:", "step-000000002"),
    data("inspect of text", ["inspect", "text.txt"], "text.txt is not an HDF5 file"),
    data("inspect of a pipe", ["inspect", "pipe"], "pipe is a pipe or a device"),
    io("inspect of a name that is too long", ["inspect", LONG], LONG),
    data("verify of nothing", ["verify", "absent.h5"], "absent.h5 does not exist"),
    data("verify of a folder", ["verify", "empty"], "empty is a folder"),
]

# Names that a program may stumble over and that are right.
NAMES = ["with space.txt", "ünïcödé 本 📚.txt", "caf\udce9.txt", "line\nend.txt", "'quotes\".txt", "$HOME;#.txt", "-dash.txt",
         "%s%n.txt", "a" * 240]


def names_faults():
    for i, name in enumerate(NAMES):
        out = f"{name[:200]}.{i}.h5"
        Path(name).write_bytes(b"\xff\xfe text that is not UTF-8 \x00 " * 100)
        for arguments in (["pack", "--out", out, "--", name], ["inspect", "--", out]):
            result = mistakes.run(arguments)
            if result.returncode != 0 or result.stderr:
                yield f"{arguments}: {result.returncode} {result.stderr}"
        if Path(out).stat().st_size < 2600:
            yield f"{name!r}: bytes are missing"
    result = mistakes.run(["train", "base.ini", "--run.dir=ünï cödé 📚", "--data.path=ünïcödé 本 📚.txt.1.h5"])
    if result.returncode != 0 or '"ünï cödé 📚"' not in Path("ünï cödé 📚/metrics.jsonl").read_text(encoding="utf-8"):
        yield f"training in a directory with a Unicode name: {result.returncode} {result.stderr}"


def link_faults():
    """A link stays one: its target is written."""
    os.makedirs("disk")
    os.symlink("disk/x.h5", "linked.h5")
    for _ in range(2):
        mistakes.run(["pack", "text.txt", "--out=linked.h5"])
    if not os.path.islink("linked.h5") or os.listdir("disk") != ["x.h5"]:
        yield f"linked.h5 is {'a link' if os.path.islink('linked.h5') else 'no link'}, its folder holds {os.listdir('disk')}"


def interrupt_faults(number):
    """A signal in the middle of packing: the process ends by it, and leaves neither an output nor a temporary file."""
    with subprocess.Popen([mistakes.MEMRING, "pack", "-", "--out=stopped.h5"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        process.stdin.write(b"text " * 2_000_000)  # more than a block: the file grows
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not list(Path(".").glob("stopped.h5.tmp-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not list(Path(".").glob("stopped.h5.tmp-*")):
            yield "there was no temporary file"
        process.send_signal(number)
        try:
            code = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            yield "it did not end"
            return
        if code != -number:
            yield f"it ended with {code}, expected {-number}"
    if left := list(Path(".").glob("stopped.h5*")):
        yield f"left behind: {left}"


def log_faults():
    """A log with lines of other programs is no reason not to go on."""
    mistakes.trained("logged")
    with open("logged/metrics.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": "x"}\n[1]\nnot JSON\n{"note": "mine"}\n')
    result = mistakes.run(["train", "base.ini", "--run.dir=logged", "--run.steps=4"])
    if result.returncode != 0:
        yield f"{result.returncode} {result.stderr}"
    records = [json.loads(line) for line in Path("logged/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    if [r["step"] for r in records if r.get("kind") == "step"] != [1, 2, 3, 4] or {"note": "mine"} not in records:
        yield f"the log holds {records}"


def doctor_faults():
    """In a folder that has been removed."""
    os.mkdir("gone")
    script = f"cd gone && rmdir ../gone && exec {mistakes.MEMRING} doctor"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0 or "No such file or directory" not in result.stdout or "run.dir" not in result.stdout:
        yield f"{result.returncode} {result.stdout} {result.stderr}"


def closed_faults():
    """With its standard streams closed, none of the program's words come into the files it opens."""
    script = f"exec {mistakes.MEMRING} pack text.txt --out=closed.h5 0<&- 1>&- 2>&-"
    code = subprocess.run(["sh", "-c", script], timeout=60, check=False).returncode
    if code != 0 or mistakes.run(["inspect", "closed.h5"]).returncode != 0:
        yield f"exit code {code}; or closed.h5 is damaged"


def prepare():
    mistakes.trained("done")
    mistakes.trained("good")
    mistakes.trained("damaged")
    state = next(Path("damaged").glob("checkpoints/*/state.h5"))
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    for name in ("empty", "open", "texts/closed", "untrained/checkpoints", "lock_folder/lock", "metrics_folder/metrics.jsonl",
                 "config_folder/config.ini", "config_damaged", "checkpoints_file"):
        os.makedirs(name)
    Path("untrained/config.ini").write_text(mistakes.BASE, encoding="utf-8")
    Path("config_damaged/config.ini").write_bytes(b"\0\xff")
    for name, size in (("empty.txt", 0), ("secret.txt", 100), ("large.txt", 9_000_000), ("checkpoints_file/checkpoints", 1)):
        Path(name).write_bytes(b"x" * size)
    os.symlink("circle", "circle")
    os.symlink("nowhere", "dangling")
    os.mkdir("unmounted")
    os.symlink("nowhere", "unmounted/checkpoints")
    os.symlink("text.txt", "link.txt")
    os.mkfifo("pipe")
    os.chmod("secret.txt", 0)
    os.chmod("texts/closed", 0)
    os.chmod("open", 0o777)


def check(report):
    prepare()
    report.mistakes(PACK)
    report.mistakes(RUNS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        report.case(f"pack is ended by {number.name}", interrupt_faults(number))
    for name, faults in {"strange names": names_faults, "output over a link": link_faults, "foreign log lines": log_faults,
                         "doctor in a removed folder": doctor_faults, "closed streams": closed_faults}.items():
        report.case(name, faults())


if __name__ == "__main__":
    sys.exit(mistakes.main(check, "F4", "unusable paths, full disks, closed folders, signals to pack, weights that become NaN",
                           "one message with path and remedy, right exit code, nothing on disk lost or left behind"))
