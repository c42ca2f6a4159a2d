"""The command line as a user meets it: help, mistakes, messages and exit codes of the built program.

Usage: cli_test.py MEMRING MPIEXEC GOLDEN_FOLDER [PART-OF-A-CASE-NAME]

A mistake must give its exit code and exactly one message: a line `memring: WHAT WAS FOUND ...` on standard error, then an
indented line that says what to do.
"""
# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

MEMRING, MPIEXEC, GOLDEN = sys.argv[1], sys.argv[2], Path(sys.argv[3]).resolve()
ONLY = sys.argv[4] if len(sys.argv) > 4 else ""
COMMANDS = ["train", "eval", "pack", "inspect", "verify", "bench", "doctor"]
LATER = ["plan", "convert", "generate", "report"]

# The remedy starts a sentence with one of these.
ACTION = re.compile(
    r"(?:^|[.:;?] |, or )(Add|Ask|Check|Choose|Copy|Did you mean|End|Free|Give|Leave|Look|Make|Name|Pack|Put|Remove|Run|Save|Set|"
    r"Start|Stop|Train|Use|Wait|Write)\b", re.IGNORECASE)

BASE = """[run]
dir = run
steps = 2
[device]
threads = 1
dtype = fp32
[model]
layers = 1
dim = 16
heads = 2
[data]
path = tokens.h5
batch = 2
length = 64
[checkpoint]
every_minutes = 0
[log]
every = 1
"""
RMT = BASE + "[memory]\nkind = rmt\ntokens = 2\n[segment]\nlength = 16\n"


@dataclass
class Mistake:
    name: str
    arguments: list
    code: int
    parts: list  # of message and remedy
    ranks: int = 1
    stdin: str = ""


def usage(name, arguments, *parts, **more):
    return Mistake(name, arguments, 2, list(parts), **more)


def data(name, arguments, *parts, **more):
    return Mistake(name, arguments, 65, list(parts), **more)


def override(name, setting, *parts):
    """A configuration that is wrong in one key or combination; the message names the option."""
    return usage(name, ["train", "base.ini"] + setting.split(), *parts)


MISTAKES = [
    # The program and its options
    usage("no command", [], "no command given", "memring --help"),
    usage("misspelt command", ["trian", "base.ini"], "unknown command 'trian'", "Did you mean 'train'?"),
    usage("option instead of a command", ["--jsn"], "unknown command '--jsn'"),
    usage("misspelt option", ["eval", "base.ini", "--jsn=x"], "memring eval has no option --jsn", "'--json'", "memring eval --help"),
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
    usage("too many arguments", ["train", "base.ini", "rmt.ini"], "takes one argument, found 2: 'rmt.ini' is too many"),
    usage("argument for a command without any", ["doctor", "all"], "takes no arguments, found 1"),
    usage("key for a command without any", ["pack", "text.txt", "--out=x.h5", "--model.dim=3"], "takes no configuration keys"),
    usage("key without a value", ["train", "base.ini", "--model.layers", "3"], "--model.layers has no value", "--model.layers=VALUE"),
    # The configuration file
    usage("missing configuration", ["train", "absent.ini"], "cannot read the configuration absent.ini", "No such file"),
    usage("folder as configuration", ["train", "."], "cannot read the configuration ."),
    usage("token file as configuration", ["train", "tokens.h5"], "tokens.h5 is an HDF5 file"),
    usage("binary file as configuration", ["train", "binary.ini"], "binary.ini:1: byte 2 is 0x00"),
    usage("misspelt key in the file", ["train", "misspelt.ini"], "misspelt.ini:3: unknown key 'model.layer'", "'model.layers'"),
    usage("misspelt section in the file", ["train", "section.ini"], "section.ini:2: unknown section [optimiser]", "'optimizer.lr'"),
    usage("key twice in the file", ["train", "twice.ini"], "twice.ini:3: 'model.dim' is set twice (first in twice.ini:2)"),
    usage("line that is no key", ["train", "line.ini"], "line.ini:2: 'dim 3' is neither"),
    usage("wrong value in the file", ["train", "value.ini"], "value.ini:2: model.dim = 'wide' is not an integer"),
    # Keys: type, range, choice, combination
    override("misspelt key", "--model.layer=3", "--model.layer: unknown key 'model.layer'", "Did you mean 'model.layers'?"),
    override("key of another section", "--model.lr=1", "Did you mean 'optimizer.lr'?"),
    override("wrong type", "--data.batch=many", "--data.batch: data.batch = 'many' is not an integer", "data.batch = 32"),
    override("fraction", "--data.batch=1.5", "'1.5' is not an integer"),
    override("out of range", "--checkpoint.keep=1", "checkpoint.keep = '1' is out of range", "at least 2"),
    override("too large", "--model.dim=99999999999999999999", "is out of range"),
    override("not a choice", "--device.dtype=fp16", "expected auto, fp32, bf16, fp64"),
    override("not a duration", "--run.time=1h", "expected seconds or hh:mm:ss"),
    override("not a size", "--device.memory=1T", "is not an integer"),
    override("not a boolean", "--model.tied=maybe", "true or false"),
    override("heads and kv_heads", "--model.heads=4 --model.kv_heads=3", "model.heads = 4 is not a multiple of model.kv_heads = 3"),
    override("dim and heads", "--model.heads=3", "model.dim = 16 is not a multiple of model.heads = 3"),
    override("odd head_dim", "--model.head_dim=7", "model.head_dim = 7 is odd"),
    override("rmt without segments", "--memory.kind=rmt", "needs segments, but segment.length = 0"),
    override("rmt without tokens", "--memory.kind=rmt --memory.tokens=0 --segment.length=8", "needs memory tokens"),
    override("micro batch above batch", "--data.micro_batch=3", "data.micro_batch = 3 is more than data.batch = 2"),
    override("min_lr above lr", "--optimizer.min_lr=1", "optimizer.min_lr = 1 is more than optimizer.lr"),
    override("no end", "--run.steps=0", "would never end"),
    override("two open axes", "--mesh.segment=0", "mesh.data = 0 and mesh.segment = 0"),
    # What the design knows and this build lacks
    override("armt", "--memory.kind=armt --segment.length=8", "this build does not have it yet; it has none, rmt"),
    override("unbiased", "--tbptt.mode=unbiased", "this build does not have it yet; it has full, window"),
    override("cuda", "--device.kind=cuda", "no CUDA backend"),
    override("strict", "--run.deterministic=strict", "ring attention"),
    override("token axis", "--mesh.token=2", "mesh.token = 2"),
    usage("armt fixture", ["verify", str(GOLDEN / "armt_full.h5")], "armt_full.h5", "this build does not have it yet"),
    # Ranks: one message whoever finds the mistake
    override("mesh and world", "--mesh.segment=2", "mesh", "2"),
    usage("mistake on two ranks", ["train", "base.ini", "--model.layer=3"], "unknown key 'model.layer'", ranks=2),
    usage("mesh and two ranks", ["train", "base.ini", "--mesh.segment=3"], "3", ranks=2),
    data("missing token file on two ranks", ["train", "base.ini", "--data.path=absent.h5", "--run.dir=absent"], "absent.h5", ranks=2),
    usage("unknown benchmark", ["bench", "chekpoint"], "unknown benchmark 'chekpoint'", "Did you mean 'checkpoint'?"),
    usage("benchmark without pairs", ["bench", "checkpoint", "--pairs=0"], "--pairs = 0", "whole number"),
    usage("benchmark with half a pair", ["bench", "checkpoint", "--pairs=1.5"], "--pairs = 1.5"),
    usage("benchmark with a wrong key", ["bench", "checkpoint", "--model.layer=1"], "Did you mean 'model.layers'?"),
    # Files
    data("missing token file", ["train", "base.ini", "--data.path=absent.h5", "--run.dir=absent"], "absent.h5"),
    data("token file that is text", ["train", "base.ini", "--data.path=text.txt", "--run.dir=text"], "text.txt", "HDF5"),
    data("fixture as token file", ["train", "base.ini", f"--data.path={GOLDEN}/llama_mha.h5", "--run.dir=fixture"], "llama_mha.h5"),
    data("token outside the vocabulary", ["train", "base.ini", "--model.vocab=100", "--run.dir=vocab"], "vocab", "100"),
    data("token file shorter than a sequence", ["train", "base.ini", "--data.length=1M", "--run.dir=short"], "tokens.h5"),
    usage("run directory of another configuration", ["train", "base.ini", "--run.dir=done", "--model.dim=32"], "done", "model.dim"),
    usage("run directory in use", ["train", "base.ini", "--run.dir=busy", "--run.steps=0", "--run.time=60"], "busy"),
    data("missing fixture", ["verify", "absent.h5"], "absent.h5"),
    data("fixture that is text", ["verify", "text.txt"], "text.txt"),
    data("token file as fixture", ["verify", "tokens.h5"], "tokens.h5"),
    data("missing file to inspect", ["inspect", "absent.h5"], "absent.h5"),
    data("text to inspect", ["inspect", "text.txt"], "text.txt"),
    data("missing text to pack", ["pack", "absent.txt", "--out=x.h5"], "absent.txt"),
    data("empty text to pack", ["pack", "-", "--out=x.h5"], "empty"),
    Mistake("pack into a folder that is not there", ["pack", "text.txt", "--out=no_such_folder/x.h5"], 74, ["no_such_folder"]),
]


def run(arguments, ranks=1, stdin=""):
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    return subprocess.run(launcher + [MEMRING] + arguments, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def faults_of(mistake):
    """What is wrong with how the program met this mistake, in words."""
    result = run(mistake.arguments, mistake.ranks, mistake.stdin)
    lines = result.stderr.splitlines()
    if result.returncode != mistake.code:
        yield f"exit code {result.returncode}, expected {mistake.code}"
    starts = [i for i, line in enumerate(lines) if line.startswith("memring: ")]
    if len(starts) != 1:
        yield f"{len(starts)} messages, expected one"
        return
    # mpirun adds words of its own behind the message.
    message = [lines[starts[0]]]
    for line in lines[starts[0] + 1:]:
        if not line.startswith("  "):
            break
        message.append(line)
    if mistake.ranks == 1 and len(message) != len(lines):
        yield "more on standard error than one message"
    if len(message) < 2 or not ACTION.search(message[-1].strip()):
        yield "the message does not end in what to do"
    if "bug" in message[-1]:
        yield "a user's mistake is called a bug"
    for part in mistake.parts:
        if part not in "\n".join(message):
            yield f"no '{part}' in the message"
    if mistake.code == 2 and mistake.ranks == 1 and result.stdout:
        yield f"standard output is not empty: {result.stdout[:200]!r}"


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
    if version.returncode != 0 or not re.fullmatch(r"memring \d+\.\d+\.\d+\n", version.stdout):
        yield f"memring --version: {version.returncode} {version.stdout!r}"


def doctor_faults(ranks):
    result = run(["doctor"], ranks)
    if result.returncode != 0:
        yield f"exit code {result.returncode}: {result.stderr}"
    for word in ["cores", f"{ranks} on 1 host", "isa = auto", "dtype = auto", "fsync and rename work", "HDF5 ", "oneDNN ", "CUDA"]:
        if result.stdout.count(word) != 1:
            yield f"'{word}' {result.stdout.count(word)} times in\n{result.stdout}"
    last = result.stdout.splitlines()[-1] if result.stdout else ""
    if last != "ready" and not last.startswith("warning "):
        yield f"the last line is neither 'ready' nor a warning: {last}"
    if list(Path(".").glob(".memring-doctor*")):
        yield "a test file is left in the directory"


def prepare():
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 400, encoding="utf-8")
    for name, text in {
            "base.ini": BASE, "rmt.ini": RMT, "misspelt.ini": "[model]\n# wide\nlayer = 3\n", "section.ini": "[optimiser]\nlr = 3\n",
            "twice.ini": "[model]\ndim = 16\ndim = 16\n", "line.ini": "[model]\ndim 3\n", "value.ini": "[model]\ndim = wide\n"}.items():
        Path(name).write_text(text, encoding="utf-8")
    Path("binary.ini").write_bytes(b"[a\0]\n")
    for arguments in (["pack", "text.txt", "--out", "tokens.h5"], ["train", "base.ini", "--run.dir=done"],
                      ["eval", "base.ini", "--run.dir=done", "--json", "eval.json"], ["inspect", "tokens.h5"], ["inspect", "done"],
                      ["verify", str(GOLDEN / "llama_mha.h5"), "--device.dtype=fp64"]):
        result = run(arguments)
        if result.returncode != 0:
            yield f"memring {' '.join(arguments)}: exit code {result.returncode}: {result.stderr}"


def occupied(directory):
    """A running job in `directory`."""
    job = subprocess.Popen([MEMRING, "train", "base.ini", f"--run.dir={directory}", "--run.steps=0", "--run.time=60"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    job.stdout.readline()  # its first line comes when the directory is its own
    return job


def main():
    failed = count = 0

    def report(name, faults):
        nonlocal failed, count
        count += 1
        faults = list(faults)
        if faults:
            failed += 1
            print(f"FAILED {name}")
            for fault in faults:
                print(f"    {fault}")

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        report("prepare: what is right works", prepare())
        report("general help and version", general_faults())
        for command in COMMANDS:
            report(f"{command} --help", help_faults(command))
        for ranks in (1, 2):
            report(f"doctor on {ranks} rank(s)", doctor_faults(ranks))
        job = occupied("busy")
        try:
            for mistake in MISTAKES:
                if ONLY in mistake.name:
                    report(f"{mistake.name}: memring {' '.join(mistake.arguments)}", faults_of(mistake))
        finally:
            job.send_signal(signal.SIGTERM)
            try:
                job.wait(timeout=20)
            except subprocess.TimeoutExpired:
                job.kill()
        os.chdir("/")
    print(f"{count - failed} of {count} cases as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
