"""The command line as a user meets it: help, mistakes, messages and exit codes of the built program.

Usage: see mistakes.py, which also says what is expected of every message.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mistakes
from mistakes import GOLDEN, NO_GPU, run, usage

COMMANDS = ["train", "eval", "pack", "inspect", "convert", "verify", "bench", "doctor"]
ROOT = Path(__file__).resolve().parents[2]
FOREVER = ["--run.steps=0", "--run.time=60", "--optimizer.schedule=constant"]
LATER = ["plan", "generate", "report"]


def override(name, setting, *parts):
    """A configuration that is wrong in one key or combination; the message names the option."""
    return usage(name, ["train", "base.ini"] + setting.split(), *parts)


MISTAKES = [
    # The program and its options
    usage("no command", [], "no command given", "memring --help"),
    usage("misspelt command", ["trian", "base.ini"], "unknown command 'trian'", "Did you mean 'train'?"),
    usage("option instead of a command", ["--jsn"], "unknown command '--jsn'"),
    usage("misspelt option", ["eval", "base.ini", "--jsn=x"], "memring eval has no option --jsn", "'--json'",
          "memring eval --help"),
    usage("prefix of an option", ["pack", "text.txt", "--tok=bytes", "--out=x.h5"], "no option --tok", "'--tokenizer'"),
    usage("key without its section", ["train", "base.ini", "--layers=3"], "no option --layers", "'--model.layers'"),
    usage("option of another command", ["train", "base.ini", "--tokenizer=bytes"], "memring train has no option --tokenizer"),
    usage("short option", ["train", "base.ini", "-x"], "memring train has no option --x"),
    usage("option without a value", ["eval", "base.ini", "--json"], "--json has no value"),
    usage("option twice", ["eval", "base.ini", "--json=a", "--json=b"], "--json is given more than once"),
    usage("option that must be given", ["pack", "text.txt"], "memring pack needs --out", "--out data/books.h5"),
    usage("option of the wrong type", ["verify", str(GOLDEN / "llama_mha.h5"), "--loss-tolerance=small"],
          "--loss-tolerance = 'small' is wrong; expected a number"),
    usage("option out of range", ["verify", str(GOLDEN / "llama_mha.h5"), "--loss-tolerance=-1"], "expected a number, 0 or more"),
    usage("option none of its choices", ["pack", "text.txt", "--out=x.h5", "--tokenizer=byte"], "expected one of bytes"),
    usage("no argument", ["train"], "memring train needs 1 argument, found 0", "memring train CONFIG.ini"),
    usage("too many arguments", ["train", "base.ini", "other.ini"], "takes one argument, found 2: 'other.ini' is too many"),
    usage("argument for a command without any", ["doctor", "all"], "takes no arguments, found 1"),
    usage("key for a command without any", ["pack", "text.txt", "--out=x.h5", "--model.dim=3"], "takes no configuration keys"),
    usage("key without a value", ["train", "base.ini", "--model.layers", "3"], "--model.layers has no value",
          "--model.layers=VALUE"),
    # Keys
    override("misspelt key", "--model.layer=3", "--model.layer: unknown key 'model.layer'", "Did you mean 'model.layers'?"),
    override("key of another section", "--model.lr=1", "Did you mean 'optimizer.lr'?"),
    override("key without effect", "--memory.tokens=16", "--memory.tokens: memory.tokens has no effect in this run",
             "it counts with memory.kind = rmt, armt or uio", "Leave --memory.tokens out"),
    override("decay without an end", "--run.steps=0 --run.time=60", "--run.steps: optimizer.schedule = cosine decays until the run",
             "Set run.steps or run.tokens"),
    override("key of another command", "--eval.buckets=3", "memring train does not read eval.buckets", "Leave --eval.buckets out"),
    # What the design knows and this build lacks
    override("cuda", "--device.kind=cuda", NO_GPU),
    # Ranks: one message whoever finds the mistake
    usage("mistake on two ranks", ["train", "base.ini", "--model.layer=3"], "unknown key 'model.layer'", ranks=2),
    usage("unknown benchmark", ["bench", "chekpoint"], "unknown benchmark 'chekpoint'", "Did you mean 'checkpoint'?"),
    usage("scaling of one rank", ["bench", "scaling"], "one rank has nobody to be compared with", "mpirun -n 2"),
    usage("benchmark without pairs", ["bench", "checkpoint", "--pairs=0"], "--pairs = 0", "whole number"),
    usage("benchmark with half a pair", ["bench", "checkpoint", "--pairs=1.5"], "--pairs = 1.5"),
    usage("benchmark with a wrong key", ["bench", "checkpoint", "--model.layer=1"], "Did you mean 'model.layers'?"),
    usage("run directory in use", ["train", "base.ini", "--run.dir=busy", *FOREVER], "busy"),
]


def help_faults(command):
    """Every option has a sentence, a type or range, a default and an example; no later command is named."""
    result = run([command, "--help"])
    if result.returncode != 0 or result.stderr:
        yield f"exit code {result.returncode}: {result.stderr}"
    lines = result.stdout.splitlines()
    if not lines or not lines[0].startswith(f"Usage: memring {command}"):
        yield "no usage in the first line"
    if len(lines) < 2 or lines[-2] != "Example" or f"memring {command}" not in lines[-1]:
        yield "no example in the last line"
    options = 0
    for i, line in enumerate(lines):
        found = re.fullmatch(r"  --([a-z0-9_.-]+)(=\S+)?", line)
        if not found:
            continue
        options += 1
        if not re.fullmatch(r"      .+\.", lines[i + 1]):
            yield f"--{found[1]}: no sentence of help"
        if not re.fullmatch(rf"      .+; default .+; example --{re.escape(found[1])}(=\S+)?", lines[i + 2]):
            yield f"--{found[1]}: no type, default and example: {lines[i + 2]}"
    if options == 0:
        yield "no option"
    if run([command, "absent.ini", "-h"]).stdout != result.stdout:
        yield "-h behind an argument is not --help"


def general_faults():
    result = run(["--help"])
    if result.returncode != 0:
        yield f"memring --help: exit code {result.returncode}"
    for command in COMMANDS:
        if not re.search(rf"^  {command} +\S", result.stdout, re.MULTILINE):
            yield f"{command} is not in memring --help"
    for command in LATER:
        if re.search(rf"^  {command} ", result.stdout, re.MULTILINE):
            yield f"{command} is in memring --help, but not in this build"
    version = run(["--version"])
    if version.returncode != 0 or not re.fullmatch(r"memring \d+\.\d+\.\d+ \(sources [0-9a-f]{8}\)\n", version.stdout):
        yield f"memring --version: {version.returncode} {version.stdout!r}"


def doctor_faults(ranks):
    result = run(["doctor"], ranks)
    if result.returncode != 0:
        yield f"exit code {result.returncode}: {result.stderr}"
    for word in ["cores", f"{ranks} on 1 host", "isa = auto", "dtype = auto", "fsync and rename work", "HDF5 ", "oneDNN ",
                 NO_GPU if "MEMRING_NO_GPU" in os.environ else "CUDA"]:
        if result.stdout.count(word) != 1:
            yield f"'{word}' {result.stdout.count(word)} times in\n{result.stdout}"
    last = result.stdout.splitlines()[-1] if result.stdout else ""
    if last != "ready" and not last.startswith("warning "):
        yield f"the last line is neither 'ready' nor a warning: {last}"
    if list(Path(".").glob(".memring-doctor*")):
        yield "a test file is left in the directory"


def prepare_faults():
    """What is right works."""
    for arguments in (["train", "base.ini", "--run.dir=done"], ["eval", "base.ini", "--run.dir=done", "--json", "eval.json"],
                      ["inspect", "tokens.h5"], ["inspect", "done"], ["verify", str(GOLDEN / "llama_mha.h5"),
                                                                      "--device.dtype=fp64"]):
        result = run(arguments)
        if result.returncode != 0:
            yield f"memring {' '.join(arguments)}: exit code {result.returncode}: {result.stderr}"


def example_faults():
    """The example of every command's help works from the repository's root, with a book at hand; runs are kept short."""
    for folder in ("configs", "tests"):
        Path(folder).symlink_to(ROOT / folder)
    for folder in ("books", "data"):
        Path(folder).mkdir()
    Path("books/one.txt").write_text("The quick brown fox jumps over the lazy dog. " * 200, encoding="utf-8")
    Path("notes.txt").write_text("Nothing of note. " * 100, encoding="utf-8")
    run(["pack", "notes.txt", "--out=data/held_out.h5"])
    shorter = {"train": ["--run.steps=2"], "eval": ["--eval.sequences=2"]}
    for command in ["pack", "train", *sorted(set(COMMANDS) - {"pack", "train"})]:
        example = run([command, "--help"]).stdout.splitlines()[-1].split()
        ranks = int(example[2]) if example[0] == "mpirun" else 1
        arguments = example[example.index("memring") + 1:] + shorter.get(command, [])
        result = run(arguments, ranks)
        # A busy machine may miss a benchmark's budget.
        if result.returncode not in ([0, 1] if command == "bench" else [0]):
            yield f"{' '.join(example)}: exit code {result.returncode}: {result.stderr}"
        if command == "train":  # what convert's example is about
            run(["train", "configs/quickstart.ini", "--run.dir=runs/adapter", "--data.path=data/books.h5", "--mesh.segment=1",
                 "--model.from=runs/books", "--model.train=lora", "--lora.rank=2", "--run.steps=1"])


def home_faults():
    """A ~ that no shell has put the home folder in place of."""
    environment = {**os.environ, "HOME": os.path.abspath("home")}
    Path("home").mkdir()
    for arguments in (["pack", "text.txt", "--out=~/tokens.h5"],
                      ["train", "base.ini", "--run.dir=~/run", "--data.path=~/tokens.h5"], ["inspect", "~/run"]):
        result = subprocess.run([mistakes.MEMRING, *arguments], env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            yield f"memring {' '.join(arguments)}: exit code {result.returncode}: {result.stderr}"
    if not Path("home/run/config.ini").exists():
        yield "no run in the home folder"


def occupied(directory):
    """A running job in `directory`."""
    job = subprocess.Popen([mistakes.MEMRING, "train", "base.ini", f"--run.dir={directory}", *FOREVER],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    job.stdout.readline()  # its first line comes when the directory is its own
    return job


def main():
    report = mistakes.Report()
    with mistakes.folder():
        report.case("prepare", prepare_faults())
        report.case("general help and version", general_faults())
        for command in COMMANDS:
            report.case(f"{command} --help", help_faults(command))
        for ranks in (1, 2):
            report.case(f"doctor on {ranks} rank(s)", doctor_faults(ranks))
        report.case("examples of help", example_faults())
        report.case("home", home_faults())
        job = occupied("busy")
        try:
            report.mistakes(MISTAKES)
        finally:
            job.send_signal(signal.SIGTERM)
            try:
                job.wait(timeout=20)
            except subprocess.TimeoutExpired:
                job.kill()
    print(f"{report.count - report.failed} of {report.count} cases as expected")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
