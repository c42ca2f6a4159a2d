"""What the tests of mistakes share: a table of them, the program run on each, and what is expected of every message.

Each test file is a program: FILE.py MEMRING MPIEXEC GOLDEN_FOLDER [PART-OF-A-CASE-NAME]. A mistake must give its exit code and
exactly one message: a line `memring: WHAT WAS FOUND ...` on standard error, then an indented line that says what to do. It must
leave the folder as it was.
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

MEMRING, MPIEXEC, GOLDEN = sys.argv[1], sys.argv[2], Path(sys.argv[3]).resolve()
ONLY = sys.argv[4] if len(sys.argv) > 4 else ""
NO_GPU = os.environ.get("MEMRING_NO_GPU", "no CUDA backend")  # what this program says to device.kind = cuda

# The remedy starts a sentence with one of these.
ACTION = re.compile(
    r"(?:^|[.:;?] |, or )(Add|Ask|Check|Choose|Copy|Did you mean|End|Free|Give|If the file|Leave|Look|Lower|Make|Move|Name|Pack|"
    r"Put|Raise|Remove|Run|Save|Set|Start|Stop|Take|Train|Use|Wait|Write)\b", re.IGNORECASE)
# Signs of a crash, or of a mistake that nobody thought of.
ACCIDENT = re.compile(r"terminate called|what\(\):|unexpected error|bug in memring|Signal:|std::|basic_string|Traceback")

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


@dataclass
class Mistake:
    name: str
    arguments: list
    code: int
    parts: list  # of message and remedy
    ranks: int = 1
    stdin: str = ""
    file_limit: int = None  # bytes that a file may grow to (ulimit -f)
    limits: dict = field(default_factory=dict)  # others of the process: resource.RLIMIT_AS and so on
    environment: dict = field(default_factory=dict)  # besides the usual one
    nobody: bool = False  # run without root's rights
    stdout: str = None  # a file in place of the pipe
    begins: bool = False  # met behind the start lines of a run
    changes: list = field(default_factory=list)  # patterns of what may appear or change on disk

    def prepare(self):
        """In the new process, before the program starts."""
        if self.file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_limit, self.file_limit))
        for limit, most in self.limits.items():
            resource.setrlimit(limit, (most, most))
        if self.nobody and os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)


def usage(name, arguments, *parts, **more):
    return Mistake(name, arguments, 2, list(parts), **more)


def data(name, arguments, *parts, **more):
    return Mistake(name, arguments, 65, list(parts), **more)


def io(name, arguments, *parts, **more):
    return Mistake(name, arguments, 74, list(parts), **more)


def train(name, setting, code, *parts, **more):
    """A run of base.ini with settings that cannot work; the directory of a start that failed is not made."""
    return Mistake(name, ["train", "base.ini", "--run.dir=new"] + setting.split(), code, list(parts), **more)


def run(arguments, ranks=1, stdin="", **how):
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    if "stdout" not in how:
        how["stdout"] = subprocess.PIPE
    return subprocess.run(launcher + [MEMRING] + arguments, input=stdin, stderr=subprocess.PIPE, text=True, errors="replace",
                          timeout=60,
                          check=False, **how)


def snapshot():
    """Every file below the current folder with what would tell that it was touched."""
    found = {}
    for folder, folders, files in os.walk("."):
        for name in folders + files:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):  # a job in the folder may be at work
                status = os.lstat(path)
                found[path[2:]] = (status.st_mode, status.st_ino) + ((status.st_size,
                                                                      status.st_mtime_ns) if name in files else ())
    return found


def faults_of(mistake):
    """What is wrong with how the program met this mistake, in words."""
    before = snapshot()
    prepared = mistake.file_limit is not None or mistake.limits or mistake.nobody
    how = {"preexec_fn": mistake.prepare} if prepared else {}
    if mistake.environment:
        how["env"] = {**os.environ, **mistake.environment}
    with open(mistake.stdout, "w") if mistake.stdout else contextlib.nullcontext() as stdout:
        result = run(mistake.arguments, mistake.ranks, mistake.stdin, **how, **({"stdout": stdout} if stdout else {}))
    lines = result.stderr.splitlines()
    if result.returncode != mistake.code:
        yield f"exit code {result.returncode}, expected {mistake.code}"
    starts = [i for i, line in enumerate(lines) if line.startswith("memring: ")]
    if len(starts) != 1:
        yield f"{len(starts)} messages, expected one: {lines}"
        return
    # mpirun adds words of its own behind the message.
    message = [lines[starts[0]]]
    for line in lines[starts[0] + 1:]:
        if not line.startswith("  "):
            break
        message.append(line)
    text = "\n".join(message)
    if mistake.ranks == 1 and len(message) != len(lines):
        yield "more on standard error than one message"
    if len(message) < 2 or not ACTION.search(message[-1].strip()):
        yield "the message does not end in what to do"
    if ACCIDENT.search(result.stderr):
        yield "the message is that of an accident"
    if len(text) > 2000:
        yield f"the message has {len(text)} characters"
    for part in mistake.parts:
        if part not in text:
            yield f"no '{part}' in the message"
    if mistake.code == 2 and mistake.ranks == 1 and not mistake.begins and result.stdout:
        yield f"standard output is not empty: {result.stdout[:200]!r}"
    after = snapshot()
    allowed = mistake.changes + ["busy"]  # where a test keeps a job at work
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
               and not any(re.match(pattern, path) for pattern in allowed)]
    if changed:
        yield f"the folder is not as it was: {sorted(changed)}"
    shutil.rmtree("new", ignore_errors=True)


class Report:
    """Counts cases and prints those that went wrong."""

    def __init__(self):
        self.count = self.failed = 0

    def case(self, name, faults):
        self.count += 1
        faults = list(faults)
        if faults:
            self.failed += 1
            print(f"FAILED {name}")
            for fault in faults:
                print(f"    {fault}")

    def mistakes(self, table):
        for mistake in table:
            if ONLY in mistake.name:
                self.case(f"{mistake.name}: memring {' '.join(mistake.arguments)[:200]}", faults_of(mistake))


@contextlib.contextmanager
def folder():
    """A folder to work in, readable for all, with a text, its token file and a configuration that works."""
    global MEMRING
    with tempfile.TemporaryDirectory(prefix="memring-cli-") as path:
        os.chdir(path)
        os.chmod(path, 0o755)
        # Whoever it is run as can reach this copy.
        with tempfile.TemporaryDirectory(prefix="memring-bin-") as programs:
            os.chmod(programs, 0o755)
            MEMRING = shutil.copy(MEMRING, programs)
            Path("text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 400, encoding="utf-8")
            Path("base.ini").write_text(BASE, encoding="utf-8")
            packed = run(["pack", "text.txt", "--out", "tokens.h5"])
            if packed.returncode != 0:
                sys.exit(f"memring pack: {packed.returncode} {packed.stderr}")
            yield Path(path)
            os.chdir("/")


def trained(directory):
    """A run that is done."""
    result = run(["train", "base.ini", f"--run.dir={directory}"])
    if result.returncode != 0:
        sys.exit(f"memring train: {result.returncode} {result.stderr}")


def record_fault(row, fault, injected, result):
    """As in tests/e2e/runs.py: one line of docs/faults.md, when MEMRING_FAULT_LOG names a file."""
    log = os.environ.get("MEMRING_FAULT_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"row": row, "fault": fault, "injected": injected, "result": result}) + "\n")


def main(check, row, what, result):
    """Runs check(report) in a folder of its own; row, what and result are its line of docs/faults.md. Returns the exit code."""
    report = Report()
    with folder():
        check(report)
    if report.failed == 0 and not ONLY:
        record_fault(row, what, report.count, result)
    print(f"{report.count - report.failed} of {report.count} cases as expected")
    return 1 if report.failed else 0
