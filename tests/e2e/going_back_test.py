"""A run that has diverged keeps a sound checkpoint and goes back to it when told so; one whose checkpoints cannot be seen does not
begin anew by itself, and no log is ever lost.

SPDX-License-Identifier: Apache-2.0
"""
import os
import signal
import time

import faults
import runs


class GoingBack(faults.FaultTest):
    def setUp(self):
        super().setUp()
        self.directory = self.folder / "run"

    def keys(self, **keys):
        return {"run__steps": 10, "checkpoint__every": 5, "optimizer__warmup": 0, **keys}

    def steps(self, directory=None):
        return [int(path.name[5:]) for path in runs.checkpoints(directory or self.directory)]

    def sound(self):
        """Steps of the checkpoints that call themselves sound."""
        text = self.succeed("inspect", self.directory).stdout
        return [step for step, part in zip(sorted(self.steps(), reverse=True), text.split(": checkpoint\n")[1:])
                if "\nsound            yes" in part]

    def test_nothing_is_saved_among_skipped_steps_and_the_message_names_the_way_back(self):
        """The learning rate of the first start that goes wrong breaks the weights in its first step."""
        self.launch(self.directory)
        result = self.launch(self.directory, code=70, run__steps=100, optimizer__lr=1e38, optimizer__clip=0)
        self.assertEqual(self.steps(), [5, 10])
        self.assertEqual(self.sound(), [10, 5])
        self.assertIn("nothing has been saved since", result.stderr)
        self.assertIn("lower optimizer.lr or with optimizer.clip (which is off) and --checkpoint.resume=10:", result.stderr)
        # One that ends among them has not done what it was asked for; the command that is advised goes on.
        self.launch(self.directory, code=70, run__steps=15, run__max_skipped=100, optimizer__lr=1e38, optimizer__clip=0)
        self.assertEqual(self.steps(), [5, 10])
        # Neither has one that is asked to stop there: it waits for a step that is not skipped.
        (self.directory / "metrics.jsonl").unlink()  # it holds skipped steps
        process = self.start(*self.train_arguments(self.directory, **self.keys(
            run__steps=10 ** 6, run__max_skipped=400, optimizer__lr=1e38, optimizer__clip=0)))
        while not runs.metrics(self.directory, "skip") and process.poll() is None:
            time.sleep(0.003)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.code_of(process)[0], 70, self.output(process))
        self.assertIn("stopped by a signal: waits for a step that is not skipped", self.output(process))
        self.assertEqual(self.steps(), [5, 10])
        self.assertRegex(self.launch(self.directory, run__steps=15, checkpoint__resume=10).stdout, r"(?m)^resume +from step 10 ")
        self.assertEqual(self.sound(), [15, 10])

    def test_finite_weights_that_have_unlearned_push_out_no_sound_checkpoint(self):
        for ranks in (None, 2):
            self.directory = self.folder / f"dead-{ranks}"
            self.launch(self.directory, ranks=ranks)
            self.launch(self.directory, ranks=ranks, run__steps=30, optimizer__lr=3, optimizer__schedule="constant")
            self.assertEqual(self.steps(), [10, 25, 30])
            self.assertEqual(self.sound(), [10])

            # The plain command goes on from the newest, and says what is wrong with it.
            result = self.launch(self.directory, ranks=ranks, run__steps=30)
            self.assertRegex(result.stderr, r"step-000000030 is not sound \(.*\): --checkpoint.resume=sound goes back")

            result = self.launch(self.directory, ranks=ranks, run__steps=12, checkpoint__resume="sound")
            self.assertRegex(result.stdout, r"(?m)^resume +from step 10 ")
            aside = [self.directory / "checkpoints" / f"step-0000000{step}.aside" for step in (30, 25)]
            for path in aside:
                self.assertIn(f"set aside as {path}", result.stdout)
                self.assert_intact(path)
            self.assertEqual(self.steps(), [10, 12])
            self.assertEqual(sorted(runs.losses(self.directory)), list(range(1, 13)))
            self.assertNotIn("resume", (self.directory / "config.ini").read_text())
            kept = [record["step"] for record in self.records("metrics.1.jsonl") if record["kind"] == "step"]
            self.assertEqual(kept, list(range(11, 31)), "the log of what was given up")

            # From there the plain command goes on, and does not go back again.
            result = self.launch(self.directory, ranks=ranks, run__steps=14)
            self.assertRegex(result.stdout, r"(?m)^resume +from step 12 ")
            self.assertEqual(result.stderr, "")
            self.assertTrue(all(path.exists() for path in aside))

    def test_a_last_save_that_proves_dead_in_the_next_start_is_never_the_sound_one(self):
        """Nobody has judged the weights of a last save: the next start does, and every start after that knows."""
        keys = {"checkpoint__every": 1, "optimizer__lr": 30, "optimizer__clip": 0, "optimizer__schedule": "constant"}
        self.launch(self.directory)
        self.launch(self.directory, run__steps=11, **keys)
        self.assertEqual(self.sound(), [11, 10], "its step was sound, and it ended there")
        result = self.launch(self.directory, run__steps=12, **keys)
        self.assertIn("step-000000011 has proved not to be sound", result.stderr)
        for steps in (13, 14):
            self.launch(self.directory, run__steps=steps, **keys)
            self.assertEqual(self.sound(), [10])
        self.assertIn(10, self.steps())
        result = self.launch(self.directory, run__steps=12, checkpoint__resume="sound")
        self.assertRegex(result.stdout, r"(?m)^resume +from step 10 ")
        self.assertLess(runs.losses(self.directory)[12], 6)

    def records(self, name):
        return runs.records_of(self.directory / name)

    def test_a_step_of_which_there_is_no_checkpoint_is_refused_with_those_there_are(self):
        self.launch(self.directory)
        result = self.launch(self.directory, code=2, checkpoint__resume=7)
        self.assertIn("holds no checkpoint of step 7; it holds: step 5, step 10", result.stderr)
        self.launch(self.directory, run__steps=6, checkpoint__resume=5)
        self.launch(self.directory, checkpoint__resume=5)
        self.assertEqual(sorted(os.listdir(self.directory / "checkpoints")),
                         [f"step-{name}" for name in ("000000005", "000000006.aside", "000000010", "000000010.aside")])

    def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(self):
        self.launch(self.directory)
        folder, log = self.directory / "checkpoints", self.directory / "metrics.jsonl"
        before = log.read_bytes()
        elsewhere = self.folder / "elsewhere"
        folder.rename(elsewhere)
        for appears_as, words in ((lambda: None, "had come to step 10"), (folder.mkdir, "had come to step 10"),
                                  (lambda: folder.symlink_to("unmounted"), "is a link to unmounted, which does not exist")):
            appears_as()
            result = self.launch(self.directory, code=65, run__steps=12)
            self.assertIn(words, result.stderr)
            for command in ("inspect", "eval"):
                self.assertRegex(runs.run(command, self.directory).stderr, f"{words}|had come to step 10")
            self.assertEqual(log.read_bytes(), before)
            if folder.is_dir():
                folder.rmdir()
        folder.unlink()
        folder.symlink_to(elsewhere)
        self.assertRegex(self.launch(self.directory, run__steps=12).stdout, r"(?m)^resume +from step 10 ")

        # An older copy in its place is told; and on purpose, with the mark gone, the run begins anew.
        newest = runs.checkpoints(self.directory)[-1]
        newest.rename(self.folder / newest.name)
        self.assertIn("had come to step 12", self.launch(self.directory, run__steps=12).stderr)
        folder.unlink()
        (self.directory / "progress").unlink()
        before = log.read_bytes()
        result = self.launch(self.directory)
        self.assertIn("kept in " + str(self.directory / "metrics.2.jsonl"), result.stdout)
        self.assertEqual((self.directory / "metrics.2.jsonl").read_bytes(), before)
        self.assertEqual(sorted(runs.losses(self.directory)), list(range(1, 11)))
        runs.record_fault("C5", "checkpoints purged, renamed, or behind a link to nothing", 3,
                          "exit 65 with the step that was reached; the log as it was")

    def test_a_run_killed_before_its_first_save_begins_anew_and_says_so(self):
        process = self.start(*self.train_arguments(self.directory, **self.keys(run__steps=10 ** 6, checkpoint__every=0)))
        self.await_step(process, self.directory, 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = (self.directory / "metrics.jsonl").read_bytes()
        result = self.launch(self.directory)
        self.assertRegex(result.stdout, r"(?m)^anew +from the beginning: ")
        self.assertEqual((self.directory / "metrics.1.jsonl").read_bytes(), before)
        self.assertEqual(sorted(runs.losses(self.directory)), list(range(1, 11)))


if __name__ == "__main__":
    runs.main()
