"""Evaluation: the numbers hang together, no mesh changes them, and memory use does not grow with the sequence.

SPDX-License-Identifier: Apache-2.0
"""
import json
import math

import runs


class Evaluation(runs.RunTest):
    text_size = (1 << 19) + 1  # one sequence of 512K tokens, and the last one's target

    def setUp(self):
        super().setUp()
        self.directory = self.folder / "run"
        self.train(self.directory, run__steps=150)

    def evaluate(self, *arguments, **how):
        path = self.folder / "eval.json"
        text = self.succeed("eval", self.directory, "--json", path, *arguments, timeout=200, **how).stdout
        return json.loads(path.read_text()), text

    def test_buckets_and_totals_hang_together(self):
        found, text = self.evaluate("--eval.sequences=32", "--eval.buckets=4")
        self.assertEqual([(b["from"], b["to"]) for b in found["buckets"]], [(0, 32), (32, 64), (64, 96), (96, 128)])
        self.assertEqual(found["tokens"], 32 * 128)
        mean = sum(b["loss"] * b["tokens"] for b in found["buckets"]) / found["tokens"]
        self.assertAlmostEqual(found["loss"], mean, places=9)
        self.assertAlmostEqual(found["perplexity"], math.exp(found["loss"]), places=6)
        self.assertIn(f"{found['loss']:.4f}", text)
        # The first segment has no past: resetting the memory changes nothing there, and something behind it.
        self.assertAlmostEqual(found["buckets"][0]["loss"], found["reset"]["buckets"][0]["loss"], places=9)
        self.assertNotAlmostEqual(found["buckets"][1]["loss"], found["reset"]["buckets"][1]["loss"], places=6)

    def test_the_reset_of_one_call_is_the_result_of_the_other(self):
        both, _ = self.evaluate("--eval.sequences=16")
        control, _ = self.evaluate("--eval.sequences=16", "--memory.reset=segment")
        self.assertEqual(both["reset"]["loss"], control["loss"])
        self.assertNotIn("reset", control)

    def test_meshes_agree(self):
        alone, _ = self.evaluate("--eval.sequences=10")
        for ranks, mesh in ((2, "--mesh.segment=2"), (3, "--mesh.segment=3"), (2, "--mesh.data=2"), (3, "--mesh.token=3")):
            with self.subTest(ranks=ranks, mesh=mesh):
                found, _ = self.evaluate("--eval.sequences=10", mesh, ranks=ranks)
                self.assertAlmostEqual(found["loss"] / alone["loss"], 1, delta=2e-5)
                self.assertEqual(found["tokens"], alone["tokens"])

    def test_memory_is_constant_in_the_length(self):
        sizes = {}
        for length in (1 << 16, 1 << 19):
            found, _ = self.evaluate(f"--data.length={length}", "--data.batch=1", "--data.micro_batch=0",
                                     "--eval.sequences=1")
            self.assertEqual(found["tokens"], length)
            sizes[length] = found["peak_memory_mib"]
        small, large = sizes.values()
        self.assertLess(large, 1.05 * small, f"peak memory in MiB by length: {sizes}")


if __name__ == "__main__":
    runs.main()
