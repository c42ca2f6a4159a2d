"""Whatever call of a save fails, and wherever it is killed: no committed checkpoint is lost, the run goes on or is resumed by
the same command, and ends with the bits of a run that nothing disturbed.

SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import signal
import time

import faults
import runs

# What each call may fail with. EINTR is no failure: the program has to call again.
ERRORS = {"write": ["ENOSPC"], "pwrite": ["ENOSPC", "EIO", "short", "EINTR"], "open": ["EMFILE", "EACCES", "EINTR"],
          "fsync": ["EIO", "ENOSPC", "EINTR"], "close": ["EIO", "EINTR"], "mkdir": ["ENOSPC", "EROFS"],
          "rename": ["EIO", "ENOSPC"], "ftruncate": ["ENOSPC", "EIO"], "remove": ["EIO"],
          "unlinkat": ["EIO", "EBUSY"], "renameat2": ["EIO"]}
# Without these there is no checkpoint.
ESSENTIAL = ("pwrite", "fsync", "mkdir", "rename", "ftruncate")


class CheckpointFaults(faults.FaultTest):
    def run_failing(self, call, error, ranks=None, code=0, many=1):
        """A run in which this call fails: (its directory, what it said)."""
        name = f"run-{ranks}-{call.rank}-{call.number}-{error}-{code}"
        directory, trace = self.folder / name, self.folder / f"{name}.trace"
        result = self.launch(directory, ranks=ranks, code=None, environment=faults.fault(
            at=call.number, error=error, rank=call.rank, many=many, trace=trace))
        about = f"{call} fails with {error}\n{result.stdout}{result.stderr}"
        self.assertEqual(result.returncode, code, about)
        self.assertGreater(self.injected(trace), 0, f"nothing failed: {about}")
        said = result.stderr.count("memring: ")
        self.assertNotIn("bug in memring", result.stderr)
        if error == "EINTR":
            self.assertEqual(said, 0, about)
        elif call.name in ESSENTIAL:
            self.assertEqual(said, 1, f"one message: {about}")
        if said:
            reason = os.strerror(getattr(faults.errno, "ENOSPC" if error == "short" else error))
            self.assertIn(reason, result.stderr, about)
            self.assertIn(str(directory / "checkpoints"), result.stderr, about)
        return directory, about, said

    def test_a_save_that_fails_while_training_goes_on_costs_nothing_else(self):
        calls = self.calls()
        chosen = runs.amount(self.of_each_kind(calls), calls)
        cases = [(call, error) for number, call in enumerate(chosen)
                 for error in runs.amount([ERRORS[call.name][number % len(ERRORS[call.name])]], ERRORS[call.name])]

        def check(call, error):
            directory, about, said = self.run_failing(call, error)
            # A removal that failed at the very end of the run is made up for by the next save.
            steps = self.assert_sound(directory, about=about)
            self.assertIn(steps, ([4, 8], [6, 8]) if said else ([6, 8],), about)
            self.assert_same_end(directory, about=about)

        self.assertGreater(len({call.name for call in chosen}), 7, chosen)
        faults.in_parallel(check, cases)
        runs.record_fault("C5", "a call of a save fails: ENOSPC, EIO, EMFILE, EACCES, EROFS, EBUSY, short write, EINTR",
                          len(cases), "one message or none needed; training goes on, later saves good, same final bits")

    def test_a_last_save_that_fails_is_exit_74_and_the_same_command_makes_up_for_it(self):
        calls = [call for call in self.calls(save=8) if call.name in ESSENTIAL]
        published = next(i for i, call in enumerate(calls) if call.name == "rename" and call.path.endswith("step-000000008"))
        chosen = self.of_each_kind(calls[:published + 1])
        cases = [(call, error) for call in runs.amount(chosen[::2], chosen) for error in runs.amount(["EIO"], ["EIO", "ENOSPC"])]

        def check(call, error):
            directory, about, _ = self.run_failing(call, error, code=74)
            self.assertEqual(self.assert_sound(directory, about=about), [4, 6], about)
            self.assertRegex(self.launch(directory).stdout, r"(?m)^resume +from step 6 ")
            self.assertEqual(self.assert_sound(directory, about=about), [6, 8], about)
            self.assert_same_end(directory, about=about)

        faults.in_parallel(check, cases)
        runs.record_fault("C5", "a call of the last save fails", len(cases), "exit 74, two older checkpoints intact; resumed")

    def test_a_disk_that_stays_full_ends_with_74_and_the_checkpoints_before_it(self):
        writes = sum(call.name == "pwrite" for call in self.calls(save=2))
        directory = self.folder / "full"
        result = self.launch(directory, code=74, environment=faults.fault(
            call="pwrite", at=writes + 1, many=10 ** 6, error="ENOSPC"))
        self.assertEqual(result.stderr.count("No space left on device"), 3, "once for each save: 4, 6 and 8")
        self.assertEqual(self.assert_sound(directory, least=1), [2])
        self.assertEqual([record["step"] for record in runs.metrics(directory, "save")], [2], "only what was saved is said to be")
        self.assertEqual(result.stdout.count("save       step "), 1, result.stdout)
        self.launch(directory)
        self.assert_sound(directory)
        self.assert_same_end(directory)

    def test_what_cannot_be_removed_is_a_warning_of_its_own(self):
        calls = [call for call in self.calls(save=8) if call.name == "unlinkat" and "tmp-" in call.path]
        directory = self.folder / "cluttered"
        result = self.launch(directory, environment=faults.fault(at=calls[0].number, many=10 ** 6, call="", error="EBUSY"))
        self.assertEqual(result.stderr.count("memring: warning: the checkpoint of step 8 is saved, but cannot remove "), 1,
                         result.stderr)
        self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
        self.assertIn("save       step 8 ", result.stdout)
        self.assertRegex(self.launch(directory, run__steps=10).stdout, r"(?m)^resume +from step 8 ")
        self.assertEqual(self.assert_sound(directory), [8, 10])
        runs.record_fault("C5", "a superfluous checkpoint cannot be removed", 1, "saved, exit 0, a warning; removed by the next save")

    def test_what_the_system_refuses_to_read_is_not_taken_for_damage(self):
        straight = self.reference()
        cases = [("pread", "state.h5", "EIO"), ("pread", "manifest.json", "EIO"), ("open", "state.h5", "EACCES"),
                 ("open", "manifest.json", "EACCES")]

        def check(call, file, error):
            directory = self.copy(straight, f"{call}-{file}-{error}")
            result = self.launch(directory, code=74, run__steps=10, environment=faults.fault(
                call=call, path=f"step-000000008/{file}", at=1, many=10 ** 6, error=error))
            self.assertIn(os.strerror(getattr(faults.errno, error)), result.stderr)
            self.assertIn("--checkpoint.resume names its step", result.stderr)
            self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
            self.assertEqual(runs.run("inspect", directory).returncode, 0)
            self.assertRegex(self.launch(directory, run__steps=10).stdout, r"(?m)^resume +from step 8 ")

        faults.in_parallel(check, cases)
        runs.record_fault("C5", "the newest checkpoint cannot be read: EIO, EACCES", len(cases), "exit 74, nothing passed over")

    def test_one_rank_that_cannot_write_fails_the_save_of_all(self):
        calls = self.of_each_kind(self.calls(ranks=2, rank=1))
        essential = [call for call in calls if call.name in ESSENTIAL]
        cases = [(call, error) for call in runs.amount(essential[::3], calls)
                 for error in runs.amount(["EIO"], [e for e in ERRORS[call.name] if e != "EINTR"])]

        def check(call, error):
            directory, about, said = self.run_failing(call, error, ranks=2)
            if said:
                self.assertIn("rank 1: ", about)
            self.assert_sound(directory, about=about)
            self.assert_same_end(directory, ranks=2, about=about)

        self.assertGreater(len(cases), 1)
        faults.in_parallel(check, cases)
        runs.record_fault("C5", "a call of the other of two ranks fails", len(cases), "one message naming it; the job goes on")

    def test_killed_at_every_call_of_a_save(self):
        for ranks, rank in runs.amount([(None, 0)], [(None, 0), (2, 0), (2, 1)]):
            calls = self.calls(ranks=ranks, rank=rank)
            chosen = self.of_each_kind(calls)
            if ranks is None:
                chosen = runs.amount(chosen[::2], calls)

            def check(call, ranks=ranks):
                name = f"killed-{ranks}-{call.rank}-{call.number}"
                directory, trace = self.folder / name, self.folder / f"{name}.trace"
                result = self.launch(directory, ranks=ranks, code=None, environment=faults.fault(
                    at=call.number, error="kill", rank=call.rank, trace=trace))
                about = f"killed in {call}\n{result.stdout}{result.stderr}"
                self.assertIn(result.returncode, (-signal.SIGKILL, 137), about)
                before = self.committed(directory)
                self.assertGreaterEqual(len(before), 2, about)
                self.assertGreaterEqual(before[-1], 4, about)
                self.assert_intact(directory, about)
                resumed = self.launch(directory, ranks=ranks)
                self.assertRegex(resumed.stdout, rf"(?m)^resume +from step {before[-1]} ")
                self.assertNotIn("not usable", resumed.stderr, about)
                self.assert_sound(directory, about=about)
                self.assert_same_end(directory, ranks=ranks, about=about)

            faults.in_parallel(check, [(call,) for call in chosen])
            runs.record_fault("C1", f"SIGKILL in a call of a save, {ranks or 1} rank{'s' if ranks else ''}, rank {rank}",
                              len(chosen), "0 lost, resumed from the newest, same final bits")

    def committed(self, directory):
        return [int(path.name[5:]) for path in runs.checkpoints(directory)]

    def test_killed_at_random_moments_of_saving(self):
        kills, chain = runs.amount(10, 100), 10
        done = 0
        while done < kills:
            ranks = 2 if done // chain % 3 == 2 else None
            done += self.kill_again_and_again(f"random-{done}", ranks, min(chain, kills - done))
        runs.record_fault("C1", "SIGKILL at a random moment of a run that saves every step, again and again", done,
                          "0 lost, every start resumes from the newest, same final bits")

    def kill_again_and_again(self, name, ranks, kills):
        """Kills one run that often, each time after it has gone on, and lets it end; returns how often it was killed."""
        keys = {"run__steps": 120, "checkpoint__every": 1}
        directory, source, killed = self.folder / name, random.SystemRandom(), 0
        while killed < kills:
            before = self.committed(directory)
            process = self.start(*self.train_arguments(directory, mesh__segment=ranks or 1, **self.keys(**keys)), ranks=ranks)
            deadline = time.monotonic() + 60
            while self.committed(directory)[-1:] <= before[-1:] and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(source.uniform(0, 0.1))
            before = self.committed(directory)
            victim = source.choice(runs.children_of(process.pid) or [process.pid]) if ranks else process.pid
            if process.poll() is not None:
                break  # it was faster than we
            os.kill(victim, signal.SIGKILL)
            self.assertNotEqual(self.code_of(process)[0], 0)
            killed += 1
            after = self.committed(directory)
            about = f"kill {killed} of {name}: {before} before, {after} after"
            self.assertGreaterEqual(after[-1], before[-1], about)
            self.assertGreaterEqual(len(after), min(2, len(before)), about)
            self.assert_intact(directory, about)
        self.assertGreater(killed, 0)
        self.launch(directory, ranks=ranks, **keys)
        self.assert_sound(directory)
        self.assert_same_end(directory, ranks=ranks, **keys)
        return killed


if __name__ == "__main__":
    runs.main()
