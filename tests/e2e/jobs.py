"""What tests of lost ranks and signals share: the processes of a job, what they hold, and that nothing of it stays behind.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import shutil
import time

import runs

# Longer than any test: each run here is ended from outside. Steps of some tens of milliseconds.
ENDLESS = {"run__steps": 100000, "data__batch": 16, "log__every": 1000}


def state_of(pid):
    """The letter of /proc/PID/stat ("T" is stopped); None when there is no such process or it only waits to be reaped."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    return None if state in "ZX" else state


def wait_for(condition, within):
    """What `condition` returns once that is true, or its last answer."""
    deadline = time.monotonic() + within
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer


class JobTest(runs.RunTest):
    """Open MPI's temporary files go to a folder of the test's own."""

    def setUp(self):
        super().setUp()
        self.temporary = self.folder / "t"
        self.temporary.mkdir()
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(self.temporary)
        self.addCleanup(lambda: os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before))
        self.seen, self.shared = set(), set()

    def ranks_of(self, process):
        """Process ids of the job's ranks, in the order they were started. They and their shared files are remembered."""
        found, todo = [], [process.pid]
        while todo:
            pid = todo.pop()
            self.seen.add(pid)
            todo += runs.children_of(pid)
            try:
                is_rank = os.readlink(f"/proc/{pid}/exe").startswith(str(runs.MEMRING.resolve()))
                mapped = pathlib.Path(f"/proc/{pid}/maps").read_text() if is_rank else ""
            except OSError:
                continue
            found += [pid] if is_rank else []
            self.shared |= set(re.findall(r"/dev/shm/\S+", mapped))
        return sorted(found)

    def await_ranks(self, process, count):
        def all_there():
            found = self.ranks_of(process)
            return found if len(found) == count else []

        found = wait_for(all_there, 60)
        self.assertEqual(len(found), count, self.output(process))
        return found

    def leave_to_open_mpi(self):
        """A killed mpirun removes neither its folder nor its shared memory."""
        for path in list(self.shared):
            if "memring" not in path:
                self.shared.discard(path)
                pathlib.Path(path).unlink(missing_ok=True)
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()

    def assert_nothing_left(self, output=""):
        """No process after 5 s, no file of shared memory, nothing in TMPDIR."""
        def left():
            return ([f"process {pid}" for pid in self.seen if state_of(pid)] +
                    [path for path in self.shared if os.path.exists(path)] +
                    [os.path.join(folder, name) for folder, folders, files in os.walk(self.temporary)
                     for name in folders + files])

        wait_for(lambda: not left(), 5)
        self.assertEqual(left(), [], output)
        self.seen.clear()
        self.shared.clear()

    def assert_one_message(self, output, pattern):
        """Of all ranks one says why the job ends."""
        messages = [line for line in output.splitlines() if line.startswith("memring:") and "warning:" not in line]
        self.assertEqual(len(messages), 1, output)
        self.assertRegex(messages[0], pattern)

    def assert_saved_and_intact(self, directory):
        """The newest checkpoint is of the last step that was logged, and its digests are right."""
        saved = runs.checkpoints(directory)
        self.assertTrue(saved, "no checkpoint")
        self.assertEqual(saved[-1].name, f"step-{max(runs.losses(directory)):09}")
        self.assert_intact(directory)
        self.assertEqual([path.name for path in (directory / "checkpoints").iterdir() if ".tmp" in path.name], [])

    def assert_resumes(self, directory, **how):
        """The same command goes on from the newest checkpoint."""
        step = int(runs.checkpoints(directory)[-1].name.removeprefix("step-"))
        result = self.train(directory, **{**ENDLESS, "run__steps": step + 2, **how})
        self.assertRegex(result.stdout, rf"(?m)^resume +from step {step} ")
