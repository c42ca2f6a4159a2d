"""Evaluation: the numbers hang together, no mesh changes them, and memory use does not grow with the sequence.

SPDX-License-Identifier: Apache-2.0
"""
import json
import math
import os
import shutil

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


class EvaluatedText(runs.RunTest):
    """What was computed on is told: the text, how much of it, and whether the model was trained on it."""

    def setUp(self):
        super().setUp()
        self.directory = self.folder / "run"
        self.started = self.train(self.directory, run__steps=10, checkpoint__every=5)

    def evaluate(self, target, *arguments, code=0, **how):
        path = self.folder / "eval.json"
        result = self.succeed("eval", target, "--json", path, *arguments, code=code, **how)
        return (json.loads(path.read_text()) if code == 0 else None), result

    def pack(self, name, size):
        text, tokens = self.folder / f"{name}.txt", self.folder / f"{name}.h5"
        text.write_bytes(self.text.read_bytes()[-size:])
        self.succeed("pack", text, "--out", tokens)
        return tokens

    def test_a_run_says_what_it_uses(self):
        self.assertIn("156 sequences of 128 tokens, 19,968 tokens used and 31 unused, 4 segments each, 0.256 passes",
                      self.started.stdout)
        self.assertNotIn("warning", self.started.stderr)
        long = self.train(self.folder / "long", run__steps=1, data__length=9000, segment__length=3000)
        self.assertIn("2 sequences of 9000 tokens, 18,000 tokens used and 1,999 unused", long.stdout)
        self.assertIn("a batch of 4 takes the 2 sequences of data.path up to 2 times", long.stderr)

    def test_the_whole_text_is_scored_and_named(self):
        held_out = self.pack("other", 3 * 128 + 78)
        found, result = self.evaluate(self.directory, f"--data.path={held_out}")
        self.assertEqual((found["sequences"], found["tail"], found["tokens"]), (3, 77, 461))
        self.assertEqual((found["data"]["path"], found["data"]["tokens"], found["data"]["training"]), (str(held_out), 462, False))
        self.assertIn(f"digest {found['data']['digest']}", result.stdout)
        self.assertNotIn("TRAINED", result.stdout)
        # The tail by itself, as a text of its own, has the same loss: what it adds is what the file's sum is longer by.
        whole, _ = self.evaluate(self.directory, f"--data.path={held_out}", "--eval.sequences=3")
        tail, _ = self.evaluate(self.directory, f"--data.path={self.pack('tail', 78)}", "--data.length=77")
        self.assertEqual((whole["tail"], whole["tokens"], tail["tokens"]), (0, 384, 77))
        sums = [part["loss"] * part["tokens"] for part in (found, whole, tail)]
        self.assertAlmostEqual(sums[0] / (sums[1] + sums[2]), 1, places=6)
        for ranks, mesh in ((2, "--mesh.segment=2"), (3, "--mesh.token=3")):
            other, _ = self.evaluate(self.directory, f"--data.path={held_out}", mesh, ranks=ranks)
            self.assertEqual(other["tokens"], 461)
            self.assertAlmostEqual(other["loss"] / found["loss"], 1, delta=2e-5)

    def test_the_training_text_is_called_so_whatever_its_name(self):
        copy = self.folder / "copy.h5"
        copy.write_bytes(self.tokens.read_bytes())
        found, result = self.evaluate(self.directory, f"--data.path={copy}", "--eval.sequences=2")
        self.assertTrue(found["data"]["training"])
        self.assertIn("the model was TRAINED on this text", result.stdout)
        self.assertIn("19,743 of them left out (eval.sequences = 2)", result.stdout)

    def test_empty_buckets_are_empty(self):
        found, result = self.evaluate(self.directory, "--data.length=4", "--eval.buckets=8", "--eval.sequences=2")
        empty = [b for b in found["buckets"] if b["tokens"] == 0]
        self.assertEqual(len(empty), 4)
        for bucket in empty:
            self.assertEqual((bucket["loss"], bucket["perplexity"]), (None, None))
        self.assertRegex(result.stdout, r"0 \.\. 0 +- +- +- +-")

    def test_a_checkpoint_folder_is_what_is_evaluated(self):
        older = self.directory / "checkpoints" / "step-000000005"
        expected, _ = self.evaluate(self.directory, "--checkpoint=step-000000005", "--eval.sequences=2")
        copy = self.folder / "copied"
        shutil.copytree(older, copy)
        for target in (older, f"{older}/", copy):
            found, _ = self.evaluate(target, "--eval.sequences=2")
            self.assertEqual((found["step"], found["loss"]), (5, expected["loss"]), target)
        newest, _ = self.evaluate(self.directory / "checkpoints", "--eval.sequences=2", ranks=2)
        self.assertEqual(newest["step"], 10)
        (self.directory / "config.ini").rename(self.folder / "away.ini")
        found, _ = self.evaluate(self.directory / "checkpoints", "--eval.sequences=2")
        self.assertEqual(found["step"], 10)
        _, refused = self.evaluate(older, "--checkpoint=step-000000010", code=2)
        self.assertIn("names another one", refused.stderr)
        _, refused = self.evaluate(self.folder, code=65)
        self.assertIn("no checkpoint either", refused.stderr)


class BesideARun(runs.RunTest):
    """A run prunes its checkpoints while others read them, and its text may be rewritten under it."""

    def test_eval_and_inspect_read_what_is_there(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, run__steps=100000, checkpoint__every=1, optimizer__schedule="constant"))
        self.assertTrue(self.await_step(process, directory, 3))
        for _ in range(3):
            result = self.succeed("eval", directory, "--eval.sequences=150")
            self.assertIn("memory reset", result.stdout)
            self.succeed("inspect", directory)
        self.assertIsNone(process.poll(), "the run must have gone on all the time")

    def test_a_rewritten_text_ends_the_run(self):
        directory, other = self.folder / "run", self.folder / "other.h5"
        (self.folder / "other.txt").write_bytes(self.text.read_bytes()[::-1])
        self.succeed("pack", self.folder / "other.txt", "--out", other)
        process = self.start(*self.train_arguments(directory, run__steps=100000, checkpoint__every=5, optimizer__schedule="constant"))
        self.assertTrue(self.await_step(process, directory, 10))
        os.utime(self.tokens)  # touched: the content is what it was
        steps = max(runs.losses(directory))
        self.assertTrue(self.await_step(process, directory, steps + 10))
        with open(self.tokens, "r+b") as file:  # in place
            file.write(other.read_bytes())
        code, _ = self.code_of(process)
        self.assertEqual(code, 65, self.output(process))
        self.assertIn("rewritten while it was in use", self.output(process))
        self.assert_intact(directory)


if __name__ == "__main__":
    runs.main()
