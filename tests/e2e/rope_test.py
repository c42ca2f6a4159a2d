"""Scaling of rotary frequencies: it belongs to the run, evaluation may have another and says so, every mesh computes the same.

SPDX-License-Identifier: Apache-2.0
"""
import json

import runs

PLAIN = {"memory__kind": "none", "memory__tokens": None, "segment__length": 0, "data__length": 32, "run__steps": 6,
         "optimizer__schedule": "constant", "optimizer__decay": 0}
YARN = {"rope__scaling": "yarn", "rope__factor": 4}


class Rope(runs.RunTest):
    def keys(self, **more):
        return {key: value for key, value in {**PLAIN, **more}.items() if value is not None}

    def evaluated(self, directory, *settings, code=0):
        out = self.folder / "eval.json"
        table = self.succeed("eval", directory, "--eval.sequences=4", f"--eval.json={out}", *settings, code=code)
        return table.stdout if code == 0 else table.stderr, json.loads(out.read_text()) if code == 0 else {}

    def test_evaluation_with_another_scaling_says_so(self):
        directory = self.folder / "plain"
        started = self.train(directory, **self.keys())
        self.assertNotRegex(started.stdout, r"(?m)^rope ")
        table, plain = self.evaluated(directory)
        self.assertNotIn("rope.scaling", table)
        self.assertNotIn("rope", plain)
        _, one = self.evaluated(directory, "--rope.scaling=linear", "--rope.factor=1")
        self.assertEqual(one["loss"], plain["loss"])
        # The window is that of the training, however long the sequences are.
        longer = ["--data.length=96", "--rope.scaling=yarn", "--rope.factor=3"]
        table, yarn = self.evaluated(directory, *longer)
        self.assertIn("\nrope.scaling: trained with none (theta 10000), evaluated with yarn, factor 3, original_length 32 "
                      "(theta 10000)\n", table)
        self.assertEqual(yarn["rope"], {"trained": "none (theta 10000)",
                                        "evaluated": "yarn, factor 3, original_length 32 (theta 10000)"})
        _, same = self.evaluated(directory, *longer, "--rope.original_length=32")
        self.assertEqual(same["loss"], yarn["loss"])
        _, other = self.evaluated(directory, *longer, "--rope.original_length=64")
        self.assertNotEqual(other["loss"], yarn["loss"])
        refused, _ = self.evaluated(directory, "--rope.scaling=yarn", code=2)
        self.assertIn("needs rope.factor", refused)

    def test_frequencies_that_positions_were_drawn_for_are_those_of_an_evaluation(self):
        directory = self.folder / "drawn"
        factors = {"short": ",".join(["1"] * 8), "long": ",".join(str(1 + i) for i in range(8))}
        self.train(directory, **self.keys(rope__scaling="longrope", rope__factor=8, rope__short_factor=factors["short"],
                                          rope__long_factor=factors["long"], positions__kind="pose", positions__target=256))
        _, found = self.evaluated(directory)
        _, long = self.evaluated(directory, f"--rope.short_factor={factors['long']}")
        self.assertEqual(found["loss"], long["loss"])

    def test_an_evaluation_without_a_number_says_so(self):
        directory = self.folder / "plain"
        self.train(directory, **self.keys())
        refused, _ = self.evaluated(directory, "--rope.scaling=yarn", "--rope.factor=2", "--rope.attention_factor=1e300", code=70)
        self.assertIn("the loss of this evaluation is no number", refused)
        _, whole = self.evaluated(directory, "--rope.scaling=dynamic", "--rope.factor=1e17")
        _, plain = self.evaluated(directory)
        self.assertEqual(whole["loss"], plain["loss"])  # no longer than the window: nothing is scaled

    def test_a_task_is_evaluated_with_another_scaling_too(self):
        directory = self.folder / "task"
        keys = self.keys(data__kind="copy", segment__length=16, model__vocab=256, task__symbols=8, task__noise=8,
                         data__length=None, data__path="")
        self.train(directory, **keys)
        table, result = self.evaluated(directory, "--rope.scaling=ntk", "--rope.factor=2")
        self.assertIn("trained with none (theta 10000), evaluated with ntk, factor 2 (theta 10000)", table)
        self.assertEqual(result["rope"]["evaluated"], "ntk, factor 2 (theta 10000)")

    def test_a_run_goes_on_with_its_own_scaling_alone(self):
        directory = self.folder / "yarn"
        started = self.train(directory, **self.keys(**YARN, run__steps=3))
        self.assertRegex(started.stdout, r"(?m)^rope +yarn, factor 4, original_length 32$")
        for change in ({"rope__factor": 8}, {"rope__scaling": "parts"}, {"rope__beta_fast": 16}, {"rope__scaling": "none"}):
            keys = self.keys(**{**YARN, **change})
            if keys["rope__scaling"] == "none":
                del keys["rope__factor"]
            refused = self.succeed(*self.train_arguments(directory, **keys), code=2).stderr
            self.assertIn(next(iter(change)).replace("__", "."), refused)
        self.train(directory, **self.keys(**YARN))
        # Evaluated as it was trained, with sequences of another length.
        table, _ = self.evaluated(directory, "--data.length=96")
        self.assertNotIn("rope.scaling", table)
        table, _ = self.evaluated(directory, "--rope.scaling=none")
        self.assertIn("trained with yarn, factor 4, original_length 32 (theta 10000), evaluated with none", table)

    def test_every_mesh_gives_the_losses_of_one_rank(self):
        # With a memory behind and in front of the text, and lists that the length decides about.
        lists = {"rope__short_factor": "[1.0, 1.5]", "rope__long_factor": "2,3", "model__head_dim": 4}
        for name, keys in {
                "rmt": {"memory__kind": "rmt", "memory__tokens": 4, "segment__length": 32, "data__length": 128, **YARN},
                "none": {**lists, "rope__scaling": "longrope", "rope__factor": 4, "rope__original_length": 31}}.items():
            with self.subTest(memory=name):
                alone, split = self.folder / name, self.folder / f"{name}-2"
                self.train(alone, **self.keys(**keys, device__dtype="fp64"))
                self.train(split, ranks=2, **self.keys(**keys, device__dtype="fp64", mesh__segment=1, mesh__token=2,
                                                          mesh__data=1))
                expected = runs.losses(alone)
                for step, loss in runs.losses(split).items():
                    self.assertAlmostEqual(loss / expected[step], 1, delta=1e-9, msg=f"step {step}")


if __name__ == "__main__":
    runs.main()
