"""What the tests that inject faults share: the library that makes calls fail, and what must hold of a run directory afterwards.

SPDX-License-Identifier: Apache-2.0
"""
import collections
import concurrent.futures
import errno
import os
import pathlib
import re
import subprocess
import threading

import runs

Call = collections.namedtuple("Call", "number rank name path")
STEPS, EVERY, KEEP = 8, 2, 2


def fault(**settings):
    """The environment in which calls fail, fault(at=17, error="EIO"), or last, fault(delay_ms=100); tests/faults/fail_call.cpp
    says what there is."""
    error = settings.pop("error", None)
    if error:
        settings["with"] = str(getattr(errno, error, error))
    return {"LD_PRELOAD": os.environ["MEMRING_FAIL_CALL"], "FAIL_PATH": "/checkpoints",
            **{f"FAIL_{key.upper()}": str(value) for key, value in settings.items()}}


def in_parallel(check, cases):
    """check(*case) for every case, on two threads; the first failure is raised."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda case: check(*case), cases))


def fault_on(command, **settings):
    """The command line that starts `command` with these faults; fault() says which there are."""
    return ["env", *(f"{name}={value}" for name, value in fault(**settings).items()), *command]


class FaultTest(runs.RunTest):
    """A test with a straight run of 8 steps that saves every second one and keeps two."""

    def setUp(self):
        super().setUp()
        self.one_thread = threading.Lock()

    def keys(self, **keys):
        return {"run__steps": STEPS, "checkpoint__every": EVERY, "checkpoint__keep": KEEP, **keys}

    def reference(self, ranks=None, **keys):
        """The directory of a run that nothing disturbed."""
        directory = self.folder / f"straight-{ranks}-{len(keys)}"
        with self.one_thread:
            if not directory.exists():
                self.launch(directory, ranks=ranks, **keys)
        return directory

    def launch(self, directory, ranks=None, code=0, environment=None, timeout=100, **keys):
        """Trains to the end in this environment."""
        command = runs.command(*self.train_arguments(directory, mesh__segment=ranks or 1, **self.keys(**keys)), ranks=ranks)
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                                env={**os.environ, **(environment or {})})
        if code is not None:
            self.assertEqual(result.returncode, code, f"{environment}\n{result.stdout}{result.stderr}")
        return result

    def calls(self, ranks=None, rank=0, save=6):
        """The calls of one rank that make up the save of a step, its pruning included, in a run that nothing disturbs."""
        trace = self.folder / f"traced-{ranks}.trace"
        if not trace.exists():
            self.launch(self.folder / f"traced-{ranks}", ranks=ranks, environment=fault(trace=trace))
        lines = [line.split(" ", 2) for line in trace.read_text().splitlines() if line.startswith(f"{rank} ")]
        mine = [Call(number, rank, name, path) for number, (_, name, path) in enumerate(lines, start=1)]
        first = next(i for i, call in enumerate(mine) if f"step-{save:09}.tmp" in call.path)
        following = (i for i, call in enumerate(mine) if f"step-{save + EVERY:09}.tmp" in call.path)
        return mine[first:next(following, len(mine))]

    def of_each_kind(self, calls):
        """One call for each name and file."""
        kinds = {}
        for call in calls:
            file = re.sub(r".*checkpoints/?|\d+|tmp-.*?(/|$)", "", call.path)
            kinds.setdefault((call.name, file, "tmp-" in call.path), call)
        return list(kinds.values())

    def injected(self, trace):
        """How many calls were made to fail."""
        return sum(line.startswith("!") for line in trace.read_text().splitlines()) if trace.exists() else 0

    def assert_sound(self, directory, least=2, about=""):
        """Nothing but intact checkpoints is there, at least so many; returns their steps."""
        folder = directory / "checkpoints"
        names = sorted(os.listdir(folder))
        strangers = [name for name in names if not re.fullmatch(r"step-\d{9}", name)]
        self.assertEqual(strangers, [], f"left behind: {about}")
        status = folder.stat()
        memory = pathlib.Path(f"/dev/shm/memring-checkpoint-{os.getuid()}-{status.st_dev}-{status.st_ino}")
        self.assertFalse(memory.exists(), f"{memory} is left behind: {about}")
        self.assert_intact(directory, about)
        self.assertGreaterEqual(len(names), least, about)
        return [int(name[5:]) for name in names]

    def assert_same_end(self, directory, ranks=None, about="", **keys):
        """The last checkpoint and every logged loss are those of the straight run."""
        straight = self.reference(ranks, **keys)
        self.assert_same_tensors(runs.checkpoints(straight)[-1], runs.checkpoints(directory)[-1], about)
        self.assert_same_losses(straight, directory, about)
