"""Signals and lost ranks: what they leave on disk, and which exit code the caller sees.

SPDX-License-Identifier: Apache-2.0
"""
import os
import signal
import time

import runs

# Longer than any test: each run here is ended from outside. Steps of some tens of milliseconds.
ENDLESS = {"run__steps": 100000, "data__batch": 16}


class Signals(runs.RunTest):
    def assert_saved_and_intact(self, directory):
        """The newest checkpoint is of the last step that was logged, and its digests are right."""
        saved = runs.checkpoints(directory)
        self.assertTrue(saved, "no checkpoint")
        self.assertEqual(saved[-1].name, f"step-{max(runs.losses(directory)):09}")
        self.succeed("inspect", saved[-1])
        self.assertEqual([path.name for path in (directory / "checkpoints").iterdir() if ".tmp" in path.name], [])

    def assert_resumes(self, directory, **how):
        step = int(runs.checkpoints(directory)[-1].name.removeprefix("step-"))
        result = self.train(directory, run__steps=step + 2, data__batch=16, **how)
        self.assertRegex(result.stdout, rf"(?m)^resume +from step {step} ")

    def test_a_plain_start_saves_and_ends_with_75(self):
        for name in ("SIGUSR1", "SIGTERM", "SIGINT"):
            with self.subTest(signal=name):
                directory = self.folder / name
                code, seconds, output = self.stop_at(directory, 5, getattr(signal, name), **ENDLESS)
                self.assertEqual(code, 75, output)
                self.assertLess(seconds, 10)
                self.assert_saved_and_intact(directory)
                self.assert_resumes(directory)

    def test_usr1_may_save_and_go_on(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, run__on_usr1="continue", **ENDLESS))
        self.assertTrue(self.await_step(process, directory, 3), self.output(process))
        process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 30
        while not runs.checkpoints(directory) and time.monotonic() < deadline:
            time.sleep(0.01)
        saved = runs.checkpoints(directory)
        self.assertTrue(saved, self.output(process))
        self.assertTrue(self.await_step(process, directory, int(saved[0].name.removeprefix("step-")) + 2))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.code_of(process)[0], 75, self.output(process))

    def test_signals_do_not_disturb_the_numbers(self):
        """Some of oneDNN's AVX-512 kernels keep data below the stack pointer, where a signal handler's frame goes."""
        keys = {"run__steps": 40, "run__on_usr1": "continue", "model__dim": 128, "data__batch": 16}
        quiet, disturbed = self.folder / "quiet", self.folder / "disturbed"
        self.train(quiet, **keys)
        process = self.start(*self.train_arguments(disturbed, **keys))
        self.assertTrue(self.await_step(process, disturbed, 1), self.output(process))
        while max(runs.losses(disturbed)) < 38 and process.poll() is None:
            for _ in range(200):
                process.send_signal(signal.SIGUSR1)
                time.sleep(0.0002)
        self.assertEqual(self.code_of(process)[0], 0, self.output(process))
        self.assert_same_losses(quiet, disturbed)
        self.assert_same_tensors(runs.checkpoints(quiet)[-1], runs.checkpoints(disturbed)[-1])

    def test_a_second_interrupt_ends_at_once_with_130(self):
        def twice(process):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)

        # Steps of a second or so: the second signal comes before the first one's step is over.
        directory = self.folder / "run"
        code, seconds, output = self.stop_at(directory, 1, None, send=twice, **{**ENDLESS, "data__batch": 800})
        self.assertEqual(code, 130, output)
        self.assertLess(seconds, 2)

    def test_usr1_to_mpirun_or_to_one_rank_stops_all_ranks_at_one_step(self):
        def one_rank(process):
            os.kill(runs.children_of(process.pid)[-1], signal.SIGUSR1)

        for name, send in (("mpirun", None), ("one-rank", one_rank)):
            with self.subTest(sent_to=name):
                directory = self.folder / name
                code, _, output = self.stop_at(directory, 5, signal.SIGUSR1, send=send, ranks=2, **ENDLESS)
                self.assertEqual(code, 75, output)
                self.assert_saved_and_intact(directory)
                self.assert_resumes(directory, ranks=2)

    def test_the_launch_script_turns_term_and_int_into_a_save(self):
        for name in ("SIGTERM", "SIGINT"):
            with self.subTest(signal=name):
                directory = self.folder / name
                code, _, output = self.stop_at(directory, 5, getattr(signal, name), ranks=2,
                                               launcher=runs.LAUNCH / "mpirun.sh", **ENDLESS)
                self.assertEqual(code, 75, output)
                self.assert_saved_and_intact(directory)

    def test_term_to_bare_mpirun_leaves_the_previous_checkpoint_intact(self):
        directory = self.folder / "run"
        code, seconds, output = self.stop_at(directory, 12, signal.SIGTERM, ranks=2, checkpoint__every=5, **ENDLESS)
        self.assertNotIn(code, (0, 75), output)
        self.assertLess(seconds, 10)
        self.succeed("inspect", directory)
        self.assertGreaterEqual(int(runs.checkpoints(directory)[-1].name.removeprefix("step-")), 5)
        self.assert_resumes(directory, ranks=2, checkpoint__every=5)

    def test_a_killed_rank_ends_the_job_and_leaves_the_previous_checkpoint_intact(self):
        def kill_one_rank(process):
            os.kill(runs.children_of(process.pid)[-1], signal.SIGKILL)

        directory = self.folder / "run"
        code, seconds, output = self.stop_at(directory, 12, None, send=kill_one_rank, ranks=3, checkpoint__every=5, **ENDLESS)
        self.assertEqual(code, 137, output)
        self.assertLess(seconds, 10)
        self.succeed("inspect", directory)
        self.assert_resumes(directory, ranks=3, checkpoint__every=5)

    def test_one_failing_rank_ends_the_job_with_one_message(self):
        """Rank 1 alone is told of a token file that does not exist, while the others wait for it."""
        directory = self.folder / "run"
        good = self.train_arguments(directory, mesh__segment=3)
        missing = self.train_arguments(directory, mesh__segment=3, data__path=self.folder / "missing.h5")
        start = time.monotonic()
        result = runs.run(*good, ":", "-n", 1, runs.MEMRING, *missing, ":", "-n", 1, runs.MEMRING, *good, ranks=1)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(result.returncode, 65, result.stderr)
        messages = [line for line in result.stderr.splitlines() if line.startswith("memring:")]
        self.assertEqual(len(messages), 1, result.stderr)
        self.assertRegex(messages[0], r"^memring: rank 1 of 3 \(.*missing\.h5")


if __name__ == "__main__":
    runs.main()
