"""Objectives: what a text repeated from memory and a base that teaches lead to, and what the program says of them.

SPDX-License-Identifier: Apache-2.0
"""
import json

import runs

# A text of two segments, which its memory has to hold; and the same length as sequences of a base.
REPEATS = {"memory__kind": "uio", "memory__tokens": 8, "segment__length": 16, "data__length": 32, "data__batch": 16,
           "objective__kind": "reconstruct", "optimizer__weight_decay": 0}


class Objectives(runs.RunTest):
    def evaluate(self, directory, *arguments):
        path = self.folder / "eval.json"
        text = self.succeed("eval", directory, "--json", path, *arguments).stdout
        return json.loads(path.read_text()), text

    def test_a_text_is_repeated_from_memory(self):
        directory = self.folder / "run"
        started = self.train(directory, run__steps=250, log__every=50, **REPEATS)
        self.assertRegex(started.stdout, r"(?m)^data .* sequences of 16 tokens, .* each read and then repeated")
        # 17 sequences: the last batch is filled up with empty ones.
        found, _ = self.evaluate(directory, "--eval.sequences=17")
        self.assertEqual(found["tokens"], 17 * 16)
        halves = [sum(bucket["tokens"] for bucket in found["buckets"][i : i + 4]) for i in (0, 4)]
        self.assertEqual(halves, [0, 17 * 16])
        # What is asked for is in the memory, and nowhere else.
        self.assertLess(found["loss"], found["reset"]["loss"] - 0.1)
        everything, text = self.evaluate(directory)
        self.assertEqual(everything["tokens"], 1249 * 16)  # of 20,000: what is no whole sequence cannot be repeated
        self.assertIn("20,000 tokens, 15 of them left out", text)
        # As a language model it does without the vector that begins a repetition.
        plain, text = self.evaluate(directory, "--objective.kind=lm", "--eval.sequences=17")
        self.assertEqual(plain["tokens"], 17 * 32)
        self.assertIn("objective: trained with kind reconstruct, evaluated with kind lm\n", text)
        self.assertEqual(plain["objective"], {"trained": "kind reconstruct", "evaluated": "kind lm"})

    def test_what_was_not_trained_to_repeat_is_not_asked_to(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=1, **{**REPEATS, "objective__kind": "lm"})
        for place in (directory, runs.checkpoints(directory)[-1]):
            refused = self.succeed("eval", place, "--objective.kind=reconstruct", code=2).stderr
            self.assertIn("objective.kind = reconstruct needs memory.repeat_token, and this model was trained without it", refused)
            self.assertIn("(objective.kind = lm)", refused)
        runs.record_fault("F4", "an evaluation by repetition of a model that was not trained to repeat", 2,
                          "refused before a checkpoint is read, with the objective of its training")

    def test_it_goes_on_with_the_same_bits_and_as_nothing_else(self):
        straight, resumed = self.folder / "straight", self.folder / "resumed"
        keys = {**REPEATS, "optimizer__schedule": "constant", "optimizer__decay": 0}
        self.train(straight, run__steps=4, **keys)
        self.train(resumed, run__steps=2, **keys)
        self.train(resumed, run__steps=4, **keys)
        self.assert_same_losses(straight, resumed)
        self.assert_same_tensors(runs.checkpoints(straight)[-1], runs.checkpoints(resumed)[-1])
        changed = self.train(resumed, run__steps=5, code=2, **{**keys, "objective__kind": "lm"})
        self.assertIn("objective.kind", changed.stderr)

    def test_the_base_teaches_what_a_memory_is_to_tell(self):
        base = self.folder / "base"
        self.train(base, run__steps=100, memory__kind="none", segment__length=0, data__length=64, data__batch=16)
        keys = {"model__from": base, "model__train": "memory", "run__steps": 60, "memory__kind": "uio",
                "memory__tokens": 8, "segment__length": 16, "data__length": 64, "data__batch": 16}
        losses = {}
        for kind in ("lm", "distil"):
            directory = self.folder / kind
            said = self.train(directory, objective__kind=kind, **keys).stdout
            self.assertEqual("text_loss" in runs.metrics(directory, "step")[0], kind == "distil")
            losses[kind], table = self.evaluate(directory)
            self.assertEqual("divergence" in losses[kind], kind == "distil")
            self.assertEqual(" divergence " in table, kind == "distil")
        self.assertRegex(said, r"step 60/60 [^|]+\| loss [0-9.]+ \(text [0-9.]+, kl [0-9.]+\) \|")
        for step in runs.metrics(self.folder / "distil", "step"):
            self.assertAlmostEqual(step["loss"], 0.1 * step["text_loss"] + 0.9 * step["divergence"], delta=1e-5)
            self.assertGreater(step["text_loss"], step["divergence"])
        # The loss of the text, whatever was trained for.
        self.assertAlmostEqual(losses["distil"]["loss"], losses["lm"]["loss"], delta=0.1)
        self.assertLess(losses["distil"]["loss"], losses["distil"]["reset"]["loss"])
        told = losses["distil"]["divergence"]
        self.assertTrue(0 < told < losses["distil"]["reset"]["divergence"], told)
        logged = [step["divergence"] for step in runs.metrics(self.folder / "distil", "step")][-10:]
        self.assertAlmostEqual(told, sum(logged) / 10, delta=0.2 * told)
        refused = self.succeed("eval", base, "--objective.kind=distil", code=2).stderr
        self.assertIn("the base, which teaches, would itself learn", refused)
        # What is left of the divergence, which is all of this loss, where the memory tells what is out of sight.
        steps = 200
        self.train(self.folder / "divergence", **{**keys, "objective__kind": "distil", "objective__kl": 1,
                                                  "objective__window": 64, "run__steps": steps})
        divergence = list(runs.losses(self.folder / "divergence").values())
        self.assertLess(sum(divergence[-20:]), 0.95 * sum(divergence[:20]))
        self.assertIn("objective  distil, kl 1, window 64", self.train(self.folder / "divergence", **{
            **keys, "objective__kind": "distil", "objective__kl": 1, "objective__window": 64, "run__steps": steps}).stdout)
        adapted = {**keys, "model__train": "memory,lora", "lora__rank": 2, "lora__targets": "o_proj", "objective__kind": "distil"}
        self.train(self.folder / "adapted", **adapted)
        self.succeed("convert", self.folder / "adapted", "--merge", "--out", self.folder / "merged")
        refused = self.train(self.folder / "all", code=2, objective__kind="distil", **{**keys, "model__train": "all"})
        self.assertIn("the base, which teaches, would itself learn: model.embed_tokens.weight", refused.stderr)


if __name__ == "__main__":
    runs.main()
