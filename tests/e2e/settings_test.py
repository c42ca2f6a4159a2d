"""What a run is set to do and what it says of it: keys without effect, changed settings at a resume, schedules that end with
the budget that is set, a run directory that has moved, a target that has been met.

SPDX-License-Identifier: Apache-2.0
"""
import shutil

import runs

STEP_TOKENS = 4 * 128


class Settings(runs.RunTest):
    def rates(self, directory):
        return [record["lr"] for record in runs.metrics(directory, "step")]

    def test_keys_of_the_file_without_effect_are_named_in_one_line_and_one_of_the_command_line_is_refused(self):
        directory = self.folder / "run"
        result = self.train(directory, run__steps=1, memory__kind="none")
        self.assertRegex(result.stdout, r"(?m)^unused +memory\.tokens of ")
        self.assertIn("memory.tokens", runs.metrics(directory, "run_start")[0]["unused"])
        result = self.train(self.folder / "other", code=2, memory__kind="none", tbptt__window=2)
        self.assertIn("--tbptt.window: tbptt.window has no effect in this run", result.stderr)
        self.assertNotRegex(self.train(self.folder / "rmt", run__steps=1).stdout, "(?m)^unused")

    def test_every_setting_that_differs_at_a_resume_is_told_with_both_values_and_what_it_does_to_the_learning_rate(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=6)
        self.train(directory, run__steps=6)
        self.assertEqual(runs.metrics(directory, "resume")[-1]["differences"], [])
        result = self.train(directory, run__steps=12, optimizer__clip=0, optimizer__schedule="linear", log__every=2)
        told = runs.metrics(directory, "resume")[-1]["differences"]
        self.assertEqual(told[:-1], ["run.steps: 6 then, 12 now", "optimizer.schedule: cosine then, linear now",
                                     "optimizer.clip: 1 then, 0 now", "log.every: 1 then, 2 now"])
        self.assertRegex(told[-1], r"^learning rate of step 7: 0 as it was set then, 0\.00257 now$")
        for line in told:
            self.assertIn(f"           {line}\n", result.stdout)
        self.train(directory, run__steps=24, optimizer__schedule="linear", optimizer__clip=0, log__every=2)
        self.assertEqual(len(runs.metrics(directory, "resume")[-1]["differences"]), 2, "a longer run, and its learning rate")

    def test_a_jump_of_the_learning_rate_is_told_with_its_size(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=8, run__time=1e-6, code=75)
        self.train(directory, run__steps=2, optimizer__lr=3e-2)
        self.assertIn("learning rate of step 2: 0.0012 as it was set then, 0.012 now, 10 times as much",
                      runs.metrics(directory, "resume")[-1]["differences"])

    def test_a_schedule_ends_with_the_tokens_that_are_set(self):
        straight, tokens, both = (self.folder / name for name in ("straight", "tokens", "both"))
        self.train(straight, run__steps=20)
        result = self.train(tokens, run__steps=0, run__tokens=20 * STEP_TOKENS)
        self.assertIn("run.tokens reached: step 20,", result.stdout)
        self.assertRegex(result.stdout, r"step 10 50\.0% .* left ")
        for one, other in zip(self.rates(straight), self.rates(tokens), strict=True):
            self.assertAlmostEqual(one, other, delta=1e-12)
        self.train(both, run__steps=1000, run__tokens=20 * STEP_TOKENS)
        self.assertEqual(self.rates(both), self.rates(tokens))
        # A restart goes on in the same schedule.
        stopped = self.folder / "stopped"
        self.train(stopped, run__steps=0, run__tokens=20 * STEP_TOKENS, run__time=1e-6, code=75)
        self.train(stopped, run__steps=0, run__tokens=20 * STEP_TOKENS)
        self.assertEqual(self.rates(stopped), self.rates(tokens))
        self.assert_same_losses(stopped, tokens)

    def test_a_target_that_has_been_met_is_met_at_the_next_start(self):
        directory = self.folder / "run"
        for _ in range(2):
            result = self.train(directory, run__target_loss=9)
            self.assertIn("run.target_loss reached: step 1,", result.stdout)
        self.assertEqual(sorted(runs.losses(directory)), [1])

    def test_the_configuration_of_a_moved_run_stands_for_the_run_where_it_lies(self):
        first = self.folder / "first"
        self.train(first, run__steps=2)
        moved = self.copy(first, "moved")
        before = runs.metrics(first)
        result = self.succeed("train", moved / "config.ini", "--run.steps=4")
        self.assertRegex(result.stdout, rf"(?m)^moved +this run is the folder of {moved}/config\.ini; it was {first}$")
        self.assertIn("resume     from step 2 ", result.stdout)
        self.assertNotRegex(result.stdout, "(?m)^unused", "it holds every key there is")
        self.assertEqual(sorted(runs.losses(moved)), [1, 2, 3, 4])
        self.assertEqual(runs.metrics(first), before)
        self.assertIn(f"run.dir: {first} then, {moved} now", runs.metrics(moved, "resume")[-1]["differences"])
        shutil.rmtree(first)
        self.assertNotIn("moved ", self.succeed("train", moved / "config.ini", "--run.steps=5").stdout, "told once")
        fresh = self.folder / "fresh"
        self.assertNotIn("moved ", self.succeed("train", moved / "config.ini", f"--run.dir={fresh}").stdout)
        self.assertEqual(sorted(runs.losses(fresh)), [1, 2, 3, 4, 5], "the command line's run directory wins")

    def test_a_run_of_a_newer_program_is_refused_with_the_keys_that_are_not_known_here(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=1)
        with open(directory / "config.ini", "a", encoding="utf-8") as file:
            file.write("[muon]\nrank = 3\n")
        for arguments in (self.train_arguments(directory), ["train", directory / "config.ini"], ["eval", directory]):
            result = self.succeed(*arguments, code=2)
            self.assertIn("a newer one wrote them", result.stderr)
            self.assertIn("\n    muon.rank = 3\n", result.stderr)


if __name__ == "__main__":
    runs.main()
