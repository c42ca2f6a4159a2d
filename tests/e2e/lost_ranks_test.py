"""Ranks that die or hang at random moments: the job ends soon, one report says which rank and where all stood, every
checkpoint is intact, the same command goes on, and nothing is left behind.

SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import re
import signal
import time

import jobs
import runs

TIMEOUT = 3
KEYS = {**jobs.ENDLESS, "checkpoint__every": 3}


class LostRanks(jobs.JobTest):
    @staticmethod
    def mesh(ranks):
        """Two ranks pass memories on, three pass keys round."""
        return {"mesh__segment": 2} if ranks == 2 else {"mesh__segment": 1, "mesh__token": ranks, "mesh__data": 1}

    def inject(self, directory, signal_number, ranks, source, timeout, at_start=False):
        """Starts the command, or starts it again, sends the signal to a random rank at a random moment, and returns
        (rank, exit code, seconds, output)."""
        before = max(runs.losses(directory), default=0)
        saved = runs.checkpoints(directory)
        process = self.start(*self.train_arguments(directory, run__timeout=timeout, **self.mesh(ranks), **KEYS), ranks=ranks)
        if not at_start:
            fresh = int(saved[-1].name.removeprefix("step-")) if saved else 0
            self.assertTrue(self.await_step(process, directory, max(before, fresh) + 1), self.output(process))
        pids = self.await_ranks(process, ranks)
        time.sleep(source.uniform(0, 0.5))
        self.ranks_of(process)  # what they share by now
        rank = source.randrange(ranks)
        os.kill(pids[rank], signal_number)
        code, seconds = self.code_of(process, within=60)
        output = self.output(process)
        if saved and not at_start:
            self.assertRegex(output, r"(?m)^resume +from step \d+ ")
        return rank, code, seconds, output

    def assert_report(self, output, ranks, finding):
        self.assert_one_message(output, finding)
        told = re.findall(rf"(?m)^  rank (\d+) of {ranks} \(\S+\): step \d+, action \d+: [A-Z]\w+", output)
        self.assertEqual(told, [str(rank) for rank in range(ranks)], output)

    def campaign(self, number, injections, expected, finding, timeout=60, at_start=False):
        """`injections` of one signal, on 2 and 3 ranks in turn, into one run that is resumed each time."""
        source = random.Random(number)
        for ranks in (2, 3):
            directory = self.folder / f"{number}-{ranks}-{at_start}"
            for _ in range((injections + 3 - ranks) // 2):
                rank, code, seconds, output = self.inject(directory, number, ranks, source, timeout, at_start)
                self.assertEqual(code, expected, output)
                self.assertLess(seconds, (timeout if expected == 75 else 0) + 10, output)
                if not at_start:
                    self.assert_report(output, ranks, finding.format(rank=rank, ranks=ranks))
                self.assert_nothing_left(output)
            if runs.checkpoints(directory):
                self.assert_intact(directory)
                self.assert_resumes(directory, ranks=ranks, **{"checkpoint__every": 3})

    def test_a_killed_rank_is_named_with_the_position_of_all(self):
        amount = runs.amount(2, 100)
        self.campaign(signal.SIGKILL, amount, 137, r"rank {rank} of {ranks} \(\S+\) has vanished")
        runs.record_fault("C2", "SIGKILL of a rank at a random moment of training and saving", amount,
                          "ended with 137, one report with every position, resumed by the same command")

    def test_a_crashed_rank_is_named_with_the_position_of_all(self):
        amount = runs.amount(2, 50)
        self.campaign(signal.SIGSEGV, amount, 139, r"rank {rank} of {ranks} \(\S+\) has vanished")
        runs.record_fault("C2", "SIGSEGV of a rank at a random moment of training and saving", amount,
                          "ended with 139, one report with every position, resumed by the same command")

    def test_a_rank_killed_during_the_start_ends_the_job(self):
        amount = runs.amount(2, 40)
        self.campaign(signal.SIGKILL, amount, 137, "", at_start=True)
        runs.record_fault("C2", "SIGKILL of a rank while the job starts and loads", amount,
                          "ended with 137, nothing left, resumed by the same command")

    def test_a_stopped_rank_is_named_within_the_time_limit(self):
        amount = runs.amount(2, 60)
        self.campaign(signal.SIGSTOP, amount, 75, rf"no progress on \S+ for {TIMEOUT} s: rank {{rank}} of {{ranks}} \(\S+\) no longer",
                      TIMEOUT)
        runs.record_fault("H1", "SIGSTOP of a rank at a random moment", amount,
                          f"ended with 75 after run.timeout ({TIMEOUT} s), the right rank named, the stopped process gone")

    def test_a_stopped_rank_is_found_where_segments_are_long(self):
        """The other works on in its action, until it waits for keys: that moves nothing, however long the action is."""
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, **{
            **jobs.ENDLESS, "memory__kind": "none", "segment__length": 4096, "data__length": 4096, "data__batch": 1,
            "data__micro_batch": 1, "run__timeout": TIMEOUT, **self.mesh(3), "mesh__token": 2}), ranks=2)
        self.assertTrue(self.await_step(process, directory, 1), self.output(process))
        pids = self.await_ranks(process, 2)
        time.sleep(random.Random(8).uniform(0, 0.5))
        os.kill(pids[1], signal.SIGSTOP)
        code, seconds = self.code_of(process)
        self.assertEqual(code, 75, self.output(process))
        self.assertLess(seconds, TIMEOUT + 5)
        self.assert_report(self.output(process), 2, rf"no progress on \S+ for {TIMEOUT} s: rank 1 of 2 \(\S+\) no longer runs")
        self.assertRegex(self.output(process), r"rank 0 of 2 .*: Wait, peer rank 1, segment 0, layer \d")

    def test_a_killed_mpirun_leaves_no_rank_behind(self):
        """Its ranks notice, and the same command goes on."""
        directory, amount = self.folder / "run", runs.amount(1, 20)
        source = random.Random(1)
        for _ in range(amount):
            before = max(runs.losses(directory), default=0)
            process = self.start(*self.train_arguments(directory, mesh__segment=2, **KEYS), ranks=2)
            self.assertTrue(self.await_step(process, directory, before + 1), self.output(process))
            self.await_ranks(process, 2)
            self.assertTrue(jobs.wait_for(lambda: runs.checkpoints(directory), 60), self.output(process))
            time.sleep(source.uniform(0, 0.5))
            process.kill()
            process.wait()
            self.leave_to_open_mpi()
            self.assert_nothing_left(self.output(process))
        self.assert_intact(directory)
        self.assert_resumes(directory, ranks=2, checkpoint__every=3)
        runs.record_fault("C3", "SIGKILL of mpirun", amount, "no rank alive after 5 s, resumed by the same command")

    def test_a_stopped_rank_of_an_evaluation_is_named_too(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=1)
        process = self.start("eval", directory, "--mesh.segment=2", f"--run.timeout={TIMEOUT}", "--data.kind=detect", "--data.path=",
                             "--eval.sequences=1", "--eval.segments=1000000", ranks=2)
        pids = self.await_ranks(process, 2)
        board = "/dev/shm/memring-board"  # is made just before the watch begins
        self.assertTrue(jobs.wait_for(lambda: self.ranks_of(process) and any(board in name for name in self.shared), 20))
        time.sleep(0.5)
        os.kill(pids[1], signal.SIGSTOP)
        code, _ = self.code_of(process)
        self.assertEqual(code, 75, self.output(process))
        self.assert_report(self.output(process), 2, r"rank 1 of 2 \(\S+\) no longer runs")
        self.assert_nothing_left()

    def test_a_rank_stopped_for_less_than_the_limit_goes_on(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, mesh__segment=2, run__timeout=20, **KEYS), ranks=2)
        self.assertTrue(self.await_step(process, directory, 2), self.output(process))
        rank = self.await_ranks(process, 2)[1]
        os.kill(rank, signal.SIGSTOP)
        time.sleep(1)
        step = max(runs.losses(directory))
        os.kill(rank, signal.SIGCONT)
        self.assertTrue(self.await_step(process, directory, step + 3), self.output(process))
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.code_of(process)[0], 75, self.output(process))
        self.assert_saved_and_intact(directory)


if __name__ == "__main__":
    runs.main()
