"""Training with drawn position ids: the same on any mesh and after any restart, and what the program tells of it.

SPDX-License-Identifier: Apache-2.0
"""
import re
import shutil

import runs

# Of documents (none), of every segment of a sequence (rmt, armt), and ids that depend on the text (longrecipe).
SETTINGS = {
    "none": {"memory__kind": "none", "memory__tokens": None, "segment__length": 0, "data__length": 32,
             "positions__kind": "cream", "positions__target": 128, "positions__head": 5},
    "rmt": {"memory__kind": "rmt", "positions__kind": "longrecipe", "positions__target": 256},
    "armt": {"memory__kind": "armt", "positions__kind": "pose", "positions__target": 300, "memory__key_dim": 8},
}
STEPS = 6


class Positions(runs.RunTest):
    def keys(self, memory, **more):
        keys = {"run__steps": STEPS, "optimizer__schedule": "constant", "optimizer__decay": 0, **SETTINGS[memory], **more}
        return {key: value for key, value in keys.items() if value is not None}

    def test_every_mesh_gives_the_losses_of_one_rank(self):
        for memory in SETTINGS:
            alone = self.folder / memory
            self.train(alone, **self.keys(memory, device__dtype="fp64"))
            expected = runs.losses(alone)
            self.assertEqual(len(expected), STEPS)
            for axis in ("data", "token", "segment") if memory != "none" else ("data", "token"):
                with self.subTest(memory=memory, axis=axis):
                    mesh = {"mesh__segment": 1, "mesh__data": 1, f"mesh__{axis}": 2}
                    directory = self.folder / f"{memory}-{axis}"
                    self.train(directory, ranks=2, **self.keys(memory, device__dtype="fp64", **mesh))
                    for step, loss in runs.losses(directory).items():
                        self.assertAlmostEqual(loss / expected[step], 1, delta=1e-9, msg=f"step {step}")

    def test_a_resumed_run_has_the_same_bits(self):
        for memory in SETTINGS:
            with self.subTest(memory=memory):
                straight, resumed = self.folder / "straight", self.folder / "resumed"
                self.train(straight, **self.keys(memory))
                self.train(resumed, **self.keys(memory, run__steps=2))
                self.train(resumed, **self.keys(memory))
                self.assert_same_losses(straight, resumed)
                self.assert_same_tensors(runs.checkpoints(straight)[-1], runs.checkpoints(resumed)[-1])
                shutil.rmtree(straight)
                shutil.rmtree(resumed)

    def test_they_belong_to_the_run_and_evaluation_has_plain_ones(self):
        directory = self.folder / "run"
        keys = self.keys("none")
        started = self.train(directory, **keys)
        self.assertRegex(started.stdout, r"(?m)^positions +cream, 32 to 128 tokens")
        self.assertRegex(started.stdout, r"1 documents longer than 32 tokens")
        self.assertIn("positions cream, a window of 32 tokens", self.succeed("inspect", directory, "--positions").stdout)
        changed = self.succeed(*self.train_arguments(directory, **{**keys, "positions__target": 256}), code=2)
        self.assertIn("positions.target", changed.stderr)
        # Sequences of another length than the window, and no document that is longer than they are.
        self.succeed("eval", directory, "--data.length=9999", "--eval.sequences=1", "--eval.control=false")

    def test_inspect_shows_ids_and_distances(self):
        keys = [f"--{key.replace('__', '.')}={value}" for key, value in SETTINGS["none"].items() if value is not None]
        shown = self.succeed("inspect", self.config, "--positions", *keys).stdout
        self.assertRegex(shown, r"(?m)^sample 0 +0\.\.\d+ (\d+\.\.\d+ )?\d+\.\.127$")
        self.assertEqual(len(re.findall(r"(?m)^sample \d", shown)), 8)
        self.assertEqual(len(re.findall(r"(?m)^ +\d+ \.\. +\d+  \d\.\d{3} #*$", shown)), 16)
        self.assertRegex(shown, r"100\.0 % by all 1000 together")
        text = [f"--data.path={self.tokens}", "--positions.kind=longrecipe", "--positions.target=256"]
        self.assertRegex(self.succeed("inspect", self.config, "--positions", *text).stdout, r"(?m)^sample 7 +0")
        self.assertRegex(self.succeed("inspect", self.config, "--positions").stdout, r"positions plain: 0\.\.31 ")
        refused = self.succeed("inspect", self.tokens, "--positions.target=64", code=2).stderr
        self.assertIn("--positions", refused)

    def test_documents_that_are_too_short_are_told_with_the_longest(self):
        keys = {**self.keys("none"), "data__length": 4096, "positions__target": 8192}
        short = self.folder / "short"
        short.mkdir()
        for i in range(3):
            (short / f"{i}.txt").write_text("word " * (500 + i))
        self.succeed("pack", short, "--out", self.tokens)
        result = self.succeed(*self.train_arguments(self.folder / "run", **keys), code=65)
        self.assertIn("no document of", result.stderr)
        self.assertIn("found: 2,510 at most, of 3 documents", result.stderr)


if __name__ == "__main__":
    runs.main()
