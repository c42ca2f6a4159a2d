"""A small model learns a small text, and the same mesh gives the same bits twice.

SPDX-License-Identifier: Apache-2.0
"""
import json

import runs


class Learning(runs.RunTest):
    def test_loss_falls_far_below_that_of_letters_alone(self):
        """The text is made of 50 words: who knows letters alone stays above 2.5 nats a byte, who knows words does not."""
        directory = self.folder / "run"
        self.train(directory, run__steps=500)
        found = runs.losses(directory)
        self.assertEqual(sorted(found), list(range(1, 501)))
        last = sum(found[step] for step in range(481, 501)) / 20
        self.assertGreater(found[1], 5.0, "an untrained model of 256 bytes starts at ln 256 = 5.5")
        self.assertLess(last, 1.6, f"mean loss of the last 20 steps; it began at {found[1]}")

    def test_same_mesh_twice_gives_the_same_bits(self):
        for ranks, mesh in ((None, {}), (2, {}), (4, {"mesh__segment": 2, "mesh__data": 2})):
            with self.subTest(ranks=ranks):
                one, two = self.folder / f"one-{ranks}", self.folder / f"two-{ranks}"
                for directory in (one, two):
                    self.train(directory, ranks=ranks, run__steps=20, **mesh)
                self.assert_same_losses(one, two)
                self.assert_same_tensors(runs.checkpoints(one)[-1], runs.checkpoints(two)[-1])

    def test_another_seed_gives_other_bits(self):
        """Otherwise the test above would prove nothing."""
        one, two = self.folder / "one", self.folder / "two"
        self.train(one, run__steps=3)
        self.train(two, run__steps=3, run__seed=8)
        self.assertNotEqual(runs.tensors(runs.checkpoints(one)[-1]), runs.tensors(runs.checkpoints(two)[-1]))

    def test_steps_without_a_finite_gradient_are_skipped_and_too_many_in_a_row_end_the_run_with_70(self):
        """A learning rate that sends the weights to infinity: every gradient from then on is no number."""
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                directory = self.folder / f"run-{ranks}"
                result = self.train(directory, ranks=ranks, code=70, run__steps=50, run__max_skipped=3,
                                    optimizer__lr=1e38, optimizer__warmup=0)
                records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
                self.assertEqual([r["in_row"] for r in records if r["kind"] == "skip"], [1, 2, 3, 4])
                self.assertIn("not finite", result.stderr)
                self.assertFalse(runs.checkpoints(directory), "weights that are no numbers were saved")


if __name__ == "__main__":
    runs.main()
