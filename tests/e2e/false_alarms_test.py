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
    def timed(self, *arguments, **environment):
        start = time.monotonic()
        result = subprocess.run(runs.command(*arguments, ranks=2), capture_output=True, text=True, timeout=120, check=False,
                                env={**os.environ, **environment})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return time.monotonic() - start

    def outlast(self, work, arguments):
        """Runs with more and more work, until it takes longer than the limit on this machine. Returns the seconds."""
        while True:
            seconds = self.timed(*arguments(work))
            if seconds > 1.5 * LIMIT:
                return seconds
            work = int(work * min(max(2 * LIMIT / seconds, 1.5), 8))

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

    def test_a_long_evaluation_is_no_hang(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=1)
        seconds = self.outlast(2000, lambda segments: [
            "eval", directory, "--mesh.segment=2", f"--run.timeout={LIMIT}", "--data.kind=detect", "--data.path=", "--eval.sequences=1",
            f"--eval.segments={segments}"])
        runs.record_fault("H2", f"an evaluation of {seconds:.0f} s under a limit of {LIMIT} s", 1, "no alarm")


if __name__ == "__main__":
    runs.main()
