"""A real run on two ranks from its first step to evaluation: for builds with a sanitizer, which watch everything below it.

Training with all of a rank's threads at work (computing, checkpoint writer, signal watch, watchdog), a stop by a signal in
the middle, a resume on another mesh, evaluation and inspection.
SPDX-License-Identifier: Apache-2.0
"""
import os
import signal

import runs


class TwoRanks(runs.RunTest):
    def test_a_run_trains_saves_stops_resumes_and_evaluates(self):
        run = self.folder / "run"
        busy = {"checkpoint__every": 2, "device__threads": 2, "run__timeout": 60}
        code, _, output = self.stop_at(run, 5, None, ranks=2, send=self.signal_a_rank, **busy)
        self.assertEqual(code, 75, output)
        saved = runs.checkpoints(run)[-1]
        self.train(run, ranks=2, **busy, mesh__data=2, mesh__segment=1)
        self.assertEqual(max(runs.losses(run)), 60)
        self.assertNotEqual(runs.checkpoints(run)[-1], saved)
        self.succeed("eval", run, f"--data.path={self.tokens}", "--eval.sequences=8", ranks=2)
        self.succeed("inspect", run)

    def signal_a_rank(self, process):
        os.kill(runs.children_of(process.pid)[0], signal.SIGUSR1)


if __name__ == "__main__":
    runs.main()
