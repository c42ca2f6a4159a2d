"""A run outlives its terminal: a reader of its output that goes away or stands still neither ends nor holds up training,
and metrics.jsonl says what happened.

SPDX-License-Identifier: Apache-2.0
"""
import fcntl
import os
import pathlib
import pty
import signal
import subprocess
import termios

import jobs
import runs

STEPS = {"run__steps": 60}


class LostTerminal(jobs.JobTest):
    def popen(self, command, **how):
        process = subprocess.Popen(command, cwd=self.folder, **how)
        process.log = open(os.devnull, encoding="utf-8")
        self.addCleanup(process.log.close)
        self.addCleanup(self.end, process)
        return process

    def start_piped(self, directory, launcher=None, ranks=None, **keys):
        """Both outputs go to one pipe, whose reading end comes back as a file; and the process."""
        keys = {**STEPS, "mesh__segment": ranks or 1, **keys}
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        process = self.popen(runs.command(*self.train_arguments(directory, **keys), ranks=ranks, launcher=launcher),
                             stdin=subprocess.DEVNULL, stdout=write, stderr=write)
        os.close(write)
        output = open(read, encoding="utf-8")
        self.addCleanup(output.close)
        return output, process

    def warnings(self, directory):
        return [record["text"] for record in runs.metrics(directory, "warning")]

    def assert_whole(self, directory):
        self.assertEqual(sorted(runs.losses(directory)), list(range(1, 61)))
        self.assert_saved_and_intact(directory)

    def test_a_plain_start_goes_on_without_its_reader(self):
        """`| head`, and a tee that was ended."""
        directory = self.folder / "run"
        output, process = self.start_piped(directory)
        output.readline()
        output.close()
        self.assertEqual(process.wait(60), 0)
        self.assert_whole(directory)
        self.assertEqual(self.warnings(directory), [
            f"standard {name} is lost (Broken pipe): training goes on without it; its lines are in {directory}/metrics.jsonl"
            for name in ("error", "output")])
        runs.record_fault("H4", "the reader of standard output and error goes away (plain start)", 1,
                          "trained to the end, 0; metrics.jsonl says so")

    def test_a_reader_that_stands_still_holds_nothing_up(self):
        directory = self.folder / "run"
        output, process = self.start_piped(directory)
        self.assertEqual(process.wait(60), 0)
        self.assert_whole(directory)
        self.assertIn("standard output is lost (its reader stands still)", " ".join(self.warnings(directory)))
        self.assertLess(len(output.read()), 4097)

    def test_the_launch_script_writes_on_into_a_file_of_its_own(self):
        directory = self.folder / "run"
        output, process = self.start_piped(directory, launcher=runs.LAUNCH / "mpirun.sh", ranks=2)
        first = output.readline()
        output.close()
        self.assertEqual(process.wait(60), 0)
        self.assert_whole(directory)
        text = (self.folder / f"launch-output-{process.pid}.log").read_text()
        self.assertTrue(first.startswith("run "), first)
        self.assertRegex(text, r"(?m)^step 60/60 ")
        self.assertRegex(text, r"(?m)^end ")
        self.assertEqual(self.warnings(directory), [], "the ranks did not notice")
        runs.record_fault("H4", "the reader of the launch script's output goes away", 1,
                          "trained to the end, 0; the rest of the lines in a file")

    def test_the_launch_script_leaves_no_file_where_nothing_is_lost(self):
        output, process = self.start_piped(self.folder / "run", launcher=runs.LAUNCH / "mpirun.sh", ranks=2)
        text = output.read()
        self.assertEqual(process.wait(60), 0, text)
        self.assertRegex(text, r"(?m)^end ")
        self.assertEqual(list(self.folder.glob("launch-*")), [])

    def test_bare_mpirun_dies_of_it_and_its_checkpoints_are_intact(self):
        directory = self.folder / "run"
        output, process = self.start_piped(directory, ranks=2, checkpoint__every=5, **jobs.ENDLESS | {"log__every": 1})
        self.assertTrue(jobs.wait_for(lambda: output.readline() and runs.checkpoints(directory), 60))
        self.await_ranks(process, 2)
        output.close()
        self.assertNotIn(process.wait(60), (0, 75))
        self.leave_to_open_mpi()
        self.assert_nothing_left()
        self.assert_intact(directory)

    def start_on_a_terminal(self, directory, before=None, **how):
        """As a shell does it that then is gone: the run leads the terminal's session. Returns the terminal's other end."""
        master, slave = pty.openpty()

        def lead():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            if before:
                before()

        process = self.popen(runs.command(*self.train_arguments(directory, mesh__segment=how.get("ranks") or 1, **jobs.ENDLESS), **how),
                             stdin=slave, stdout=slave, stderr=slave, preexec_fn=lead)
        os.close(slave)
        self.assertTrue(self.await_step(process, directory, 3))
        return master, process

    def test_a_closed_terminal_saves_and_ends_with_75(self):
        for name, how in (("plain", {}), ("script", {"ranks": 2, "launcher": runs.LAUNCH / "mpirun.sh"})):
            with self.subTest(start=name):
                directory = self.folder / name
                master, process = self.start_on_a_terminal(directory, **how)
                os.close(master)
                self.assertEqual(process.wait(60), 75)
                self.assert_saved_and_intact(directory)
        runs.record_fault("H4", "the terminal is closed (SIGHUP), plain start and launch script", 2, "saved, 75, intact")

    def test_under_nohup_a_closed_terminal_ends_nothing(self):
        directory = self.folder / "run"
        master, process = self.start_on_a_terminal(directory, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        os.close(master)
        step = max(runs.losses(directory))
        self.assertTrue(self.await_step(process, directory, step + 5))
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTTOU):
            self.assertTrue(ignored >> (number - 1) & 1, number)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 75)
        self.assertIn("standard output is lost (Input/output error)", " ".join(self.warnings(directory)))
        self.assert_saved_and_intact(directory)


if __name__ == "__main__":
    runs.main()
