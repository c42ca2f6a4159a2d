"""A run directory that is read-only, full, gone, replaced, or wanted by two jobs at once, and a clock that jumps: one message,
the exit code that fits, and no harm to what was saved.

SPDX-License-Identifier: Apache-2.0
"""
import fcntl
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import faults
import runs

FOREVER = 10 ** 6


def mounted(path, options):
    """Whether a file system in memory could be mounted here (root can, in many containers not even root)."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "memring-test", path]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class RunDirectory(faults.FaultTest):
    def setUp(self):
        super().setUp()
        self.directory = self.folder / "run"

    def begin(self, directory=None, environment=None, ranks=None, **keys):
        """Starts a run that goes on until it is stopped and saves every few steps."""
        keys = self.keys(**{"run__steps": FOREVER, "checkpoint__every": 20, "mesh__segment": ranks or 1, **keys})
        arguments = self.train_arguments(directory or self.directory, **keys)
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            return self.start(*arguments, ranks=ranks)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def await_that(self, process, condition, what, within=60):
        """Waits while the process lives."""
        deadline = time.monotonic() + within
        while not condition():
            self.assertIsNone(process.poll(), f"it ended before {what}:\n{self.output(process)[-3000:]}")
            self.assertLess(time.monotonic(), deadline, f"{what} did not come:\n{self.output(process)[-3000:]}")
            time.sleep(0.01)

    def await_checkpoint(self, process, directory=None, newer_than=-1):
        where = directory or self.directory
        self.await_that(process, lambda: self.newest(where) > newer_than, "a new checkpoint")

    def newest(self, directory):
        return max((int(path.name[5:]) for path in runs.checkpoints(directory)), default=-1)

    def stop(self, process, code):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.code_of(process)[0], code, self.output(process)[-3000:])
        self.assertNotIn("bug in memring", self.output(process))

    def mount(self, options):
        path = self.folder / "mount"
        if not mounted(path, options):
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "--lazy", path], check=False)
        return path

    def test_a_read_only_folder_is_exit_74_before_the_first_step(self):
        directory, environment = self.directory, faults.fault(path="/run", at=1, many=FOREVER, error="EROFS")
        if mounted(self.folder / "mount", "ro"):
            self.addCleanup(subprocess.run, ["umount", "--lazy", self.folder / "mount"], check=False)
            directory, environment = self.folder / "mount" / "run", None
        result = self.launch(directory, code=74, environment=environment)
        self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
        self.assertIn("Read-only file system", result.stderr)
        self.assertIn(str(directory), result.stderr)
        self.assertNotIn("step 1", result.stdout)

    def test_a_folder_that_becomes_read_only_lets_the_run_go_on_and_ends_with_74(self):
        at = self.calls(save=4)[0].number
        result = self.launch(self.directory, code=74, environment=faults.fault(at=at, many=FOREVER, error="EROFS"))
        self.assertEqual(result.stderr.count("memring: "), 3, "once for each save: 4, 6 and 8")
        self.assertEqual(result.stderr.count("Read-only file system"), 3, result.stderr)
        self.assertEqual(self.assert_sound(self.directory, least=1), [2])
        self.launch(self.directory)
        self.assert_same_end(self.directory)
        runs.record_fault("C5", "run directory read-only, from the start or from a save on", 2,
                          "exit 74; training goes on until then")

    def test_a_full_file_system_is_told_in_bytes_and_the_next_save_after_that_works(self):
        mount = self.mount("size=16m")
        directory, filler = mount / "run", mount / "filler"
        process = self.begin(directory, log__jsonl="false")
        self.await_checkpoint(process, directory)
        with open(filler, "wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(1 << 16))
            except OSError:
                pass
        self.await_that(process, lambda: "are missing" in self.output(process), "a message")
        self.assertRegex(self.output(process),
                         rf"needs \d+ bytes in {directory}/checkpoints, where \d+ are free: \d+ are missing")
        self.assert_intact(directory)
        filler.unlink()
        self.await_checkpoint(process, directory, newer_than=self.newest(directory))
        self.stop(process, 75)
        self.assert_sound(directory)
        runs.record_fault("C5", "a real file system full while training", 1, "bytes needed, free and missing told; goes on")

    def test_a_log_that_cannot_be_written_costs_its_lines_and_says_so_once(self):
        for error, missing in (("ENOSPC", range(3, 6)), ("short", range(3, 4))):
            with self.subTest(error=error):
                directory = self.folder / error
                # The first write is run_start's; "short" writes half a line and fails the rest of it.
                result = self.launch(directory, environment=faults.fault(path="metrics.jsonl", call="write", at=4,
                                                                         many=len(missing), error=error))
                self.assertEqual(result.stderr.count("memring: warning: "), 1, result.stderr)
                self.assertIn("metrics.jsonl cannot be written: No space left on device. Free some space", result.stderr)
                logged = [step for step in range(1, 9) if f'"step":{step},' in (directory / "metrics.jsonl").read_text()]
                self.assertTrue(set(range(1, 9)) - set(missing) <= set(logged), logged)
                self.launch(directory, run__steps=10)
                self.assertEqual(max(runs.losses(directory)), 10, "a later start reads past the torn line")
        runs.record_fault("C5", "ENOSPC and short writes of the log", 2, "one warning; training goes on, later lines are whole")

    def test_a_run_directory_that_goes_away_costs_no_more_than_its_saves(self):
        for number in range(runs.amount(2, 20)):
            directory, aside = self.folder / f"gone-{number}", self.folder / f"aside-{number}"
            process = self.begin(directory, checkpoint__every=1 + 9 * (number % 2))
            self.await_checkpoint(process, directory)
            time.sleep(random.SystemRandom().uniform(0, 0.1))
            directory.rename(aside)
            self.await_that(process, lambda d=directory: "warning: " in self.output(process), "a message")
            self.assertIn(str(directory), self.output(process))
            self.assertFalse(directory.exists(), "nothing is made in its place")
            self.assert_intact(aside)
            if number % 2:
                aside.rename(directory)
                self.await_checkpoint(process, directory, newer_than=self.newest(directory))
                self.stop(process, 75)
                self.assert_sound(directory)
            else:
                self.stop(process, 74)
        runs.record_fault("C5", "run directory gone while training, or put back later", number + 1,
                          "warned; exit 74 while it is gone, saves again when it is back")

    def test_a_run_directory_that_is_removed_while_saving_does_not_end_the_training(self):
        for number in range(runs.amount(2, 20)):
            directory = self.folder / f"removed-{number}"
            process = self.begin(directory, checkpoint__every=1)
            self.await_checkpoint(process, directory)
            time.sleep(random.SystemRandom().uniform(0, 0.05))
            while directory.exists():  # files may come while their folder is emptied
                shutil.rmtree(directory, ignore_errors=True)
            self.await_that(process, lambda: "warning: " in self.output(process), "a message")
            self.stop(process, 74)
            self.assertFalse(directory.exists(), "nothing is made in its place")
        runs.record_fault("C5", "run directory removed while saving", number + 1, "warned; exit 74 at the end")

    def test_what_comes_in_the_place_of_a_run_directory_is_left_alone(self):
        process = self.begin()
        self.await_checkpoint(process)
        self.directory.rename(self.folder / "aside")
        self.directory.write_text("a file\n")

        def told():
            return self.output(process).count("is another folder now")

        self.await_that(process, lambda: told() > 0, "a message")
        self.assertEqual(self.directory.read_text(), "a file\n")
        self.directory.unlink()

        # Another job begins a run under that name: it has a lock of its own, so ours is worth nothing there.
        other = self.begin()
        self.await_checkpoint(other)
        before = told()
        self.await_that(process, lambda: told() > before, "a message")
        self.stop(process, 74)
        self.await_checkpoint(other, newer_than=self.newest(self.directory))
        self.stop(other, 75)
        self.assert_sound(self.directory)
        self.assert_intact(self.folder / "aside")
        runs.record_fault("C5", "a file, or another job's run, in the place of the run directory", 2, "left alone; exit 74")

    def test_a_second_job_is_refused_and_a_killed_one_blocks_nobody(self):
        for ranks in runs.amount([None], [None, 2]):
            directory = self.folder / f"shared-{ranks}"
            process = self.begin(directory, ranks=ranks)
            self.await_checkpoint(process, directory)
            holders = runs.children_of(process.pid) if ranks else [process.pid]
            result = self.launch(directory, code=2)
            found = re.search(r"is in use by process (\d+) on (\S+)", result.stderr)
            self.assertTrue(found, result.stderr)
            self.assertIn(int(found[1]), holders)
            self.assertEqual(found[2], socket.gethostname())
            self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
            self.await_checkpoint(process, directory, newer_than=self.newest(directory))
            self.assertNotIn("warning", self.output(process), "the first one is not disturbed")
            os.kill(holders[0], signal.SIGKILL)
            self.code_of(process)
            process = self.begin(directory, ranks=ranks)
            self.await_checkpoint(process, directory, newer_than=self.newest(directory))
            self.assertIn("resume ", self.output(process))
            process.kill() if not ranks else self.stop_ranks(process)
        runs.record_fault("C10", "second job on a run directory; next start after SIGKILL of the first", 2,
                          "refused with host and process, exit 2; not blocked")

    def test_a_lock_of_another_host_is_waited_for(self):
        """It may be one that its host has lost; a network file system gives it up in time."""
        self.directory.mkdir()
        with open(self.directory / "lock", "w", encoding="utf-8") as lock:
            lock.write("process 1 on elsewhere\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            start = time.monotonic()
            result = self.launch(self.directory, code=75, run__wait=1)
            self.assertGreater(time.monotonic() - start, 1)
            told = "is in use by process 1 on elsewhere"
            self.assertIn(f"{told}, which cannot be seen from here: waiting up to 1 s for its end\n", result.stderr)
            self.assertIn(f"{told}, still after 1 s\n  Start the same command again", result.stderr)

            process = self.begin(self.directory, run__wait=60)
            self.await_that(process, lambda: told in self.output(process), "the warning")
            fcntl.flock(lock, fcntl.LOCK_UN)
            self.await_checkpoint(process)
            self.stop(process, 75)

            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            lock.write("process 1 on elsewhere\n")
            lock.flush()
            process = self.begin(self.directory, run__wait=60)
            self.await_that(process, lambda: told in self.output(process), "the warning")
            self.stop(process, 75)  # a signal ends the wait
        runs.record_fault("C10", "the lock is held by a process of a host that does not answer", 3,
                          "waited for: 75 after run.wait, or trained once it was free")

    def stop_ranks(self, process):
        os.kill(runs.children_of(process.pid)[0], signal.SIGUSR1)
        self.assertEqual(self.code_of(process)[0], 75)

    def test_of_jobs_that_start_at_the_same_instant_exactly_one_wins(self):
        for number in range(runs.amount(3, 30)):
            directory = self.folder / f"race-{number}"
            jobs = [self.begin(directory) for _ in range(3)]
            deadline = time.monotonic() + 60
            while sum(job.poll() is None for job in jobs) > 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            losers = [job for job in jobs if job.poll() is not None]
            self.assertEqual([job.returncode for job in losers], [2, 2], [self.output(job)[-500:] for job in jobs])
            for job in losers:
                self.assertIn("is in use by ", self.output(job))
            winner = next(job for job in jobs if job not in losers)
            self.await_checkpoint(winner, directory)
            self.stop(winner, 75)
            self.assert_sound(directory, least=1)
        runs.record_fault("C10", "three jobs start at the same instant", number + 1, "one wins, the others exit 2")

    def test_a_clock_that_jumps_changes_nothing(self):
        for jumps in runs.amount(["3600 -3600 0"], ["3600 -3600 0", "0 -60 -120 -180", "0 86400", "-3600 3600"]):
            clock = {"LD_PRELOAD": os.environ["MEMRING_CLOCK_JUMP"], "CLOCK_JUMPS": jumps, "CLOCK_EVERY": "0.1"}
            name = jumps.replace(" ", "_")
            # With saves by the step, the same bits as ever.
            directory = self.folder / f"steps{name}"
            self.launch(directory, environment=clock)
            self.assertEqual(self.assert_sound(directory), [6, 8])
            self.assert_same_end(directory)

            # With saves by the clock, neither none nor one at every step.
            directory = self.folder / f"minutes{name}"
            process = self.begin(directory, environment=clock, checkpoint__every=0, checkpoint__every_minutes=0.005)
            start = time.monotonic()
            for _ in range(3):
                self.await_checkpoint(process, directory, newer_than=self.newest(directory))
            self.assertGreater(len({record["time"][:16] for record in runs.metrics(directory)}), 1, "the clock never jumped")
            self.launch(directory, code=2, environment=clock)  # not taken for a stale lock
            seconds = time.monotonic() - start
            self.assertLessEqual(len(runs.metrics(directory, "save")), seconds / 0.3 + 2)
            self.stop(process, 75)
            newest = max(self.assert_sound(directory))
            process = self.begin(directory, environment=clock)
            self.await_that(process, lambda d=directory, n=newest: self.newest(d) > n, "a new checkpoint")
            self.assertIn(f"from step {newest} ", self.output(process))
            self.stop(process, 75)
            self.assert_sound(directory)
        runs.record_fault("C10", "clock jumps by an hour or steps back, ten times a second", runs.amount(1, 4),
                          "no false stale lock, newest and retention by step, same bits")


if __name__ == "__main__":
    runs.main()
