"""What the watchdog must not take for a hang: long steps, a long final save, a long evaluation. In each the time limit is a
fraction of what the work takes.

SPDX-License-Identifier: Apache-2.0
"""
import os
import subprocess
import time

import faults
import jobs
import runs

LIMIT = runs.amount(3, 10)


class FalseAlarms(jobs.JobTest):
    def timed(self, *arguments, ranks=2, **environment):
        start = time.monotonic()
        result = subprocess.run(runs.command(*arguments, ranks=ranks), capture_output=True, text=True, timeout=120, check=False,
                                env={**os.environ, **environment})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return time.monotonic() - start

    def outlast(self, work, arguments, ranks=2, limit=LIMIT):
        """Runs with more and more work, until it takes longer than the limit on this machine. Returns the seconds."""
        while True:
            seconds = self.timed(*arguments(work), ranks=ranks)
            if seconds > 1.5 * limit:
                return seconds
            work = int(work * min(max(2 * limit / seconds, 1.5), 8))

    def test_a_long_final_save_is_no_hang(self):
        """A disk on which each write takes a moment: the ranks wait for it for several times the limit."""
        directory = self.folder / "run"
        seconds = self.timed(*self.train_arguments(directory, mesh__segment=2, run__steps=1, run__timeout=LIMIT),
                             **faults.fault(call="pwrite", path="state.h5", delay_ms=runs.amount(100, 400)))
        self.assertGreater(seconds, 1.5 * LIMIT)
        self.assert_saved_and_intact(directory)
        runs.record_fault("H2", f"a final save of {seconds:.0f} s under a limit of {LIMIT} s", 1, "no alarm")

    def test_a_long_step_is_no_hang(self):
        seconds = self.outlast(400, lambda batch: self.train_arguments(
            self.folder / f"run-{batch}", mesh__segment=2, data__batch=batch, run__steps=1, run__timeout=LIMIT))
        runs.record_fault("H2", f"a step of {seconds:.0f} s under a limit of {LIMIT} s", 1, "no alarm")

    def long_action(self, **mesh):
        """A whole 8K segment in one action, which takes more than the limit forward and again backward."""
        limit = 1.5
        seconds = self.outlast(3, lambda layers: self.train_arguments(
            self.folder / f"run-{layers}", memory__kind="none", segment__length=8192, data__length=8192, data__batch=1,
            data__micro_batch=1, model__dim=256, model__heads=4, model__layers=layers, run__steps=1, run__timeout=limit, **mesh),
            ranks=2 if mesh else None, limit=2 * limit)  # two actions
        runs.record_fault("H2", f"a step of two actions, of {seconds:.0f} s, under a limit of {limit} s", 1, "no alarm")

    def test_one_long_action_is_no_hang(self):
        self.long_action()

    def test_one_long_action_of_a_token_axis_is_no_hang(self):
        self.long_action(mesh__token=2)

    def test_a_long_evaluation_is_no_hang(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=1)
        seconds = self.outlast(2000, lambda segments: [
            "eval", directory, "--mesh.segment=2", f"--run.timeout={LIMIT}", "--data.kind=detect", "--data.path=", "--eval.sequences=1",
            f"--eval.segments={segments}"])
        runs.record_fault("H2", f"an evaluation of {seconds:.0f} s under a limit of {LIMIT} s", 1, "no alarm")


if __name__ == "__main__":
    runs.main()
