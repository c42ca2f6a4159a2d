"""What the end-to-end tests share: a small text, a small model, starting memring on ranks, and reading what a run left.

Each test file is a unittest program: FILE.py MEMRING MPIEXEC LAUNCH [TEST...], as ctest starts it.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

MEMRING, MPIEXEC, LAUNCH = (pathlib.Path(argument) for argument in sys.argv[1:4])

CONFIG = """
[run]
steps = 60
seed = 7
[device]
dtype = fp32
threads = 1
[model]
layers = 2
dim = 32
heads = 2
vocab = 256
[memory]
kind = rmt
tokens = 4
[segment]
length = 32
[data]
length = 128
batch = 4
micro_batch = 2
[optimizer]
lr = 3e-3
warmup = 5
[checkpoint]
every_minutes = 0
[log]
every = 1
"""


def amount(short, long):
    """How often to do something: `short` in every run of the suite, `long` under launch/test.sh --long."""
    return long if os.environ.get("MEMRING_LONG") == "1" else short


def record_fault(row, fault, injected, result):
    """One line of docs/faults.md: row of the fault matrix ("C1"), what was done how often, and what came of it.

    Written only when MEMRING_FAULT_LOG names a file (launch/test.sh --long does); tests/fault_table.py renders it.
    """
    log = os.environ.get("MEMRING_FAULT_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"row": row, "fault": fault, "injected": injected, "result": result}) + "\n")


def write_text(path, size):
    """Sentences of a small vocabulary: easy to learn, the same everywhere."""
    source = random.Random(1)
    words = ["".join(source.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(source.randint(2, 8))) for _ in range(50)]
    pieces, length = [], 0
    while length < size:
        sentence = " ".join(source.choice(words) for _ in range(8)).capitalize() + ".\n"
        pieces.append(sentence)
        length += len(sentence)
    path.write_text("".join(pieces)[:size])


def command(*arguments, ranks=None, launcher=None, program=MEMRING):
    """The command line: plain, or under mpirun with `ranks`, or through `launcher` (launch/mpirun.sh)."""
    start = [] if ranks is None else [launcher or MPIEXEC] + ([] if launcher else ["-n"]) + [ranks]
    return [str(part) for part in [*start, program, *arguments]]


def run(*arguments, timeout=100, **how):
    """Runs memring to its end; stdout and stderr are texts."""
    return subprocess.run(command(*arguments, **how), capture_output=True, text=True, timeout=timeout, check=False)


def children_of(pid):
    """Processes whose parent is `pid`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return sorted(found)


def records_of(log):
    """Records of a file like metrics.jsonl; a line that is being written is left out."""
    try:
        lines = log.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def metrics(directory, kind=None):
    """Records of a run's log, of one kind."""
    return [record for record in records_of(directory / "metrics.jsonl") if kind in (None, record["kind"])]


def losses(directory):
    return {record["step"]: record["loss"] for record in metrics(directory, "step")}


def checkpoints(directory):
    """Committed checkpoints, oldest first."""
    return sorted(manifest.parent for manifest in directory.glob(f"checkpoints/step-{'[0-9]' * 9}/manifest.json"))


def tensors(checkpoint):
    """Every dataset of a checkpoint but the clock: name -> (type, shape, bytes)."""
    import h5py  # only the tests that compare tensors need it

    found = {}
    with h5py.File(checkpoint / "state.h5", "r") as file:
        file.visititems(lambda name, item: found.update({name: (item.dtype.str, item.shape, item[()].tobytes())})
                        if isinstance(item, h5py.Dataset) and not name.endswith("seconds") else None)
    return found


class RunTest(unittest.TestCase):
    """A test with a folder of its own that holds a packed text and a configuration."""

    text_size = 20000

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="memring-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.text, self.tokens, self.config = (self.folder / name for name in ("text.txt", "text.h5", "tiny.ini"))
        self.config.write_text(CONFIG)
        write_text(self.text, self.text_size)
        self.succeed("pack", self.text, "--out", self.tokens)

    def train_arguments(self, directory, **keys):
        """Arguments of a training run in `directory`; keys are written with two underscores: run__steps=3."""
        keys = {"data__path": self.tokens, **keys}
        overrides = [f"--{key.replace('__', '.')}={value}" for key, value in keys.items()]
        return ["train", self.config, f"--run.dir={directory}", *overrides]

    def start(self, *arguments, new_session=False, **how):
        """Starts memring and sees to it that it is gone when the test ends."""
        log = open(self.folder / f"log-{time.monotonic_ns()}", "w+", encoding="utf-8")
        process = subprocess.Popen(command(*arguments, **how), stdout=log, stderr=subprocess.STDOUT, text=True,
                                   start_new_session=new_session)
        process.log = log
        self.addCleanup(log.close)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            process.kill()
            process.wait()

    def output(self, process):
        process.log.seek(0)
        return process.log.read()

    def code_of(self, process, within=60):
        """The exit code, and the seconds until it came."""
        start = time.monotonic()
        try:
            return process.wait(within), time.monotonic() - start
        except subprocess.TimeoutExpired:
            self.fail(f"still running after {within} s:\n{self.output(process)}")

    def await_step(self, process, directory, step, within=60):
        """Waits until `step` is logged. False when the process ended before."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if max(losses(directory), default=0) >= step:
                return process.poll() is None
            if process.poll() is not None:
                return False
            time.sleep(0.003)
        return self.fail(f"step {step} was not reached in {within} s:\n{self.output(process)}")

    def succeed(self, *arguments, code=0, timeout=100, **how):
        result = run(*arguments, timeout=timeout, **how)
        self.assertEqual(result.returncode, code, f"{command(*arguments, **how)}\n{result.stdout}{result.stderr}")
        return result

    def train(self, directory, ranks=None, code=0, **keys):
        """Trains to the end. With ranks, they all share each sequence unless a mesh is given."""
        if ranks is not None:
            keys = {"mesh__segment": ranks, **keys}
        return self.succeed(*self.train_arguments(directory, **keys), code=code, ranks=ranks)

    def stop_at(self, directory, step, signal, send=None, ranks=None, launcher=None, **keys):
        """Trains until `step`, sends the signal, and returns (exit code, seconds until it ended, output)."""
        if ranks is not None:
            keys = {"mesh__segment": ranks, **keys}
        process = self.start(*self.train_arguments(directory, **keys), ranks=ranks, launcher=launcher)
        if not self.await_step(process, directory, step):
            self.fail(f"the run ended by itself with {process.wait()} before it could be stopped at step {step}:\n"
                      f"{self.output(process)}")
        (send or (lambda p: p.send_signal(signal)))(process)
        code, seconds = self.code_of(process)
        return code, seconds, self.output(process)

    def copy(self, directory, name):
        target = directory.parent / name
        shutil.copytree(directory, target)
        return target

    def assert_intact(self, directory, about=""):
        """Every checkpoint of a run has the content that was saved, and there is at least one."""
        result = run("inspect", directory)
        self.assertEqual(result.returncode, 0, f"{about}\n{result.stdout}{result.stderr}")

    def assert_same_tensors(self, first, second, about=""):
        one, two = tensors(first), tensors(second)
        self.assertEqual(sorted(one), sorted(two), about)
        self.assertGreater(len(one), 20)
        different = [name for name in one if one[name] != two[name]]
        self.assertEqual(different, [], f"{len(different)} of {len(one)} datasets differ between {first} and {second}: {about}")

    def assert_same_losses(self, first, second, about=""):
        one, two = losses(first), losses(second)
        self.assertEqual(sorted(one), sorted(two), f"the logs hold different steps: {about}")
        different = {step: (one[step], two[step]) for step in one if one[step] != two[step]}
        self.assertEqual(different, {}, f"losses differ: {about}")


def main():
    # mpirun refuses root and more ranks than cores without these; ctest sets them, a person may not.
    for name, value in {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1",
                        "OMP_WAIT_POLICY": "passive", "OMPI_MCA_rmaps_base_oversubscribe": "1",
                        "OMPI_MCA_hwloc_base_binding_policy": "none"}.items():
        os.environ.setdefault(name, value)
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
