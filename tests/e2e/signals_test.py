"""Signals: what they leave on disk, and which exit code the caller sees.

SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import re
import signal
import time

import jobs
import runs
from jobs import ENDLESS


class Signals(jobs.JobTest):
    def test_a_plain_start_saves_and_ends_with_75(self):
        for name in ("SIGUSR1", "SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU", "SIGUSR2"):
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

    def test_the_table_names_every_signal(self):
        table = (runs.LAUNCH.parent / "docs/signals.md").read_text()
        self.assertEqual([name.name for name in signal.Signals if not re.search(rf"\b{name.name}\b", table)], [])

    def test_other_signals_do_what_the_table_says(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, checkpoint__every=3, **ENDLESS))
        self.assertTrue(self.await_step(process, directory, 4), self.output(process))
        for name in ("SIGPIPE", "SIGTTOU", "SIGXFSZ", "SIGCHLD", "SIGURG", "SIGWINCH", "SIGTSTP", "SIGCONT"):
            process.send_signal(getattr(signal, name))
        self.assertTrue(self.await_step(process, directory, max(runs.losses(directory)) + 3), self.output(process))
        process.send_signal(signal.SIGALRM)
        self.assertEqual(self.code_of(process)[0], -signal.SIGALRM)
        self.assert_intact(directory)
        self.assert_resumes(directory, checkpoint__every=3)

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
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2", "SIGXCPU"):
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

    def test_ten_signals_in_a_row_make_one_save(self):
        def ten(process):
            for _ in range(10):
                process.send_signal(signal.SIGUSR1)
                time.sleep(0.01)

        directory = self.folder / "run"
        code, _, output = self.stop_at(directory, 3, None, send=ten, ranks=2, **ENDLESS)
        self.assertEqual(code, 75, output)
        self.assertEqual(len(runs.checkpoints(directory)), 1)
        self.assert_saved_and_intact(directory)
        runs.record_fault("H4", "10 SIGUSR1 in a row to mpirun", 1, "one save, 75")

    def test_a_signal_during_a_save_waits_for_it(self):
        """Every step is saved, so the signal comes while one is being written."""
        amount, source = runs.amount(2, 40), random.Random(4)
        directory = self.folder / "run"
        for _ in range(amount):
            before = max(runs.losses(directory), default=0)
            process = self.start(*self.train_arguments(directory, mesh__segment=2, checkpoint__every=1, **ENDLESS), ranks=2)
            self.assertTrue(self.await_step(process, directory, before + 1), self.output(process))
            time.sleep(source.uniform(0, 0.2))
            process.send_signal(signal.SIGUSR1)
            code, _ = self.code_of(process)
            self.assertEqual(code, 75, self.output(process))
            self.assert_saved_and_intact(directory)
        runs.record_fault("H4", "SIGUSR1 while a checkpoint is written", amount, "saved, 75, intact")

    def test_term_and_soon_after_kill_cost_no_checkpoint(self):
        """What schedulers do whose patience is short."""
        amount, source = runs.amount(2, 40), random.Random(5)
        directory = self.folder / "run"
        for _ in range(amount):
            before = max(runs.losses(directory), default=0)
            process = self.start(*self.train_arguments(directory, checkpoint__every=2, **ENDLESS))
            # Step 5 saves step 4, and waits for the save of step 2 before.
            self.assertTrue(self.await_step(process, directory, before + 5), self.output(process))
            process.send_signal(signal.SIGTERM)
            time.sleep(source.uniform(0, 0.05))
            process.kill()
            self.assertIn(self.code_of(process)[0], (-signal.SIGKILL, 75), self.output(process))
            self.assertTrue(runs.checkpoints(directory))
            self.assert_intact(directory)
        self.assert_resumes(directory, checkpoint__every=2)
        runs.record_fault("C2", "SIGTERM, then SIGKILL within 50 ms", amount, "checkpoints intact, resumed")

    def test_a_terminals_interrupt_saves_through_the_launch_script(self):
        """Ctrl-C goes to the process group of the terminal; the script keeps it from mpirun and the ranks."""
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, mesh__segment=2, **ENDLESS), ranks=2, new_session=True,
                             launcher=runs.LAUNCH / "mpirun.sh")
        self.assertTrue(self.await_step(process, directory, 3), self.output(process))
        self.await_ranks(process, 2)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(self.code_of(process)[0], 75, self.output(process))
        self.assert_saved_and_intact(directory)
        self.assert_nothing_left()

    def test_a_second_interrupt_to_the_launch_script_ends_with_130(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, mesh__segment=2, **{**ENDLESS, "data__batch": 800}), ranks=2,
                             launcher=runs.LAUNCH / "mpirun.sh")
        self.assertTrue(self.await_step(process, directory, 1), self.output(process))
        self.await_ranks(process, 2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        code, seconds = self.code_of(process)
        self.assertEqual(code, 130, self.output(process))
        self.assertLess(seconds, 10)
        self.assert_nothing_left()

    def test_a_signal_while_the_script_starts_leaves_nothing_behind(self):
        """Nothing was computed yet, so nothing need be saved: but the caller learns that it may start again (75)."""
        names, amount, source = ("SIGTERM", "SIGINT", "SIGUSR1"), runs.amount(4, 60), random.Random(6)
        directory = self.folder / "run"
        for number in range(amount):
            name = names[number % 3]
            process = self.start(*self.train_arguments(directory, mesh__segment=2, **ENDLESS), ranks=2,
                                 launcher=runs.LAUNCH / "mpirun.sh")
            self.assertTrue(jobs.wait_for(lambda: runs.children_of(process.pid), 10))  # its traps are set
            time.sleep(source.uniform(0, 1.2))
            self.ranks_of(process)
            process.send_signal(getattr(signal, name))
            code, _ = self.code_of(process)
            self.assertEqual(code, 75, f"{name}: {self.output(process)}")
            self.assert_nothing_left(self.output(process))
        self.succeed(*self.train_arguments(directory, mesh__segment=2, **{**ENDLESS, "run__steps": 3}), ranks=2)
        runs.record_fault("H4", "SIGTERM, SIGINT or SIGUSR1 to the launch script while the job starts", amount,
                          "75, nothing left, no lock that blocks the next start")

    def test_a_signal_while_a_plain_start_begins_leaves_nothing_behind(self):
        amount, source = runs.amount(3, 60), random.Random(7)
        directory = self.folder / "run"
        for _ in range(amount):
            process = self.start(*self.train_arguments(directory, **ENDLESS))
            time.sleep(source.uniform(0, 0.6))
            self.seen.add(process.pid)
            process.send_signal(signal.SIGTERM)
            self.assertIn(self.code_of(process)[0], (75, -signal.SIGTERM), self.output(process))
            self.assert_nothing_left(self.output(process))
        self.train(directory, run__steps=3, data__batch=16)
        runs.record_fault("H4", "SIGTERM while a plain start begins", amount, "75 or ended by the signal, nothing left")


if __name__ == "__main__":
    runs.main()
