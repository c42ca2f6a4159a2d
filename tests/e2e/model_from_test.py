"""model.from: a new run starts with the weights of another, its checkpoints say whose, and only it goes on with them.

SPDX-License-Identifier: Apache-2.0
"""
import shutil

import runs


class ModelFrom(runs.RunTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "source"
        self.train(self.source, run__steps=10, checkpoint__every=5)
        self.weights = runs.checkpoints(self.source)[-1]

    def still(self, name, ranks=None, **keys):
        """What a run starts with: its checkpoint after one step with a learning rate of 0, and what it said."""
        directory = self.folder / name
        said = self.train(directory, ranks=ranks, **{"run__steps": 1, "optimizer__lr": 0, "optimizer__warmup": 0,
                                                     "model__from": self.source, **keys})
        return runs.tensors(runs.checkpoints(directory)[-1]), said.stdout

    def params(self, checkpoint):
        found = runs.tensors(checkpoint)
        return {name: found[name] for name in found if name.startswith("params/")}

    def refuse(self, code, *words, directory=None, **keys):
        directory = directory or self.folder / "refused"
        result = self.train(directory, code=code, **{"run__steps": 1, **keys})
        self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
        for word in words:
            self.assertIn(str(word), result.stderr)

    def digest(self, checkpoint):
        lines = self.succeed("inspect", checkpoint).stdout.splitlines()
        return next(line.split()[1] for line in lines if line.startswith("digest "))

    def test_any_rank_count_starts_with_the_same_weights_and_nothing_else(self):
        expected = self.params(self.weights)
        for name, ranks, keys in (("one", None, {}), ("two", 2, {}), ("three", 3, {"mesh__segment": 1}),
                                  ("checkpoint", None, {"model__from": self.weights}),
                                  ("folder", None, {"model__from": self.source / "checkpoints"})):
            with self.subTest(name):
                found, said = self.still(name, ranks, **keys)
                self.assertEqual({n: v for n, v in found.items() if n.startswith("params/")}, expected)
                self.assertIn(f"weights    {self.weights} (step 10, digest {self.digest(self.weights)})", said)
                self.assertEqual([record["step"] for record in runs.metrics(self.folder / name, "step")], [1])
        # The optimizer is fresh: from one's weights, which are the source's, comes one's state again.
        again, _ = self.still("again", model__from=self.folder / "one")
        self.assertEqual(again, runs.tensors(runs.checkpoints(self.folder / "one")[-1]))
        older, said = self.still("older", model__from=self.source / "checkpoints" / "step-000000005")
        self.assertIn("(step 5, ", said)
        self.assertNotEqual(older["params/model.embed_tokens.weight"], expected["params/model.embed_tokens.weight"])

    def test_a_resumed_run_keeps_its_source_wherever_that_has_moved(self):
        whole, parts, moved = (self.folder / name for name in ("whole", "parts", "moved"))
        keys = {"model__from": self.source, "optimizer__schedule": "constant", "optimizer__decay": 0}
        self.train(whole, run__steps=8, **keys)
        self.train(parts, run__steps=3, **keys)
        digest = self.digest(self.weights)
        said = self.succeed("inspect", parts).stdout
        self.assertIn(f"started from     {self.weights} (digest {digest})", said)

        other = self.folder / "other"
        self.train(other, run__steps=2, run__seed=8)
        self.refuse(2, "model.from: ", digest, self.digest(runs.checkpoints(other)[-1]), directory=parts,
                    **{**keys, "model__from": other, "run__steps": 8})
        self.refuse(2, "model.from: ", "-> fresh weights", directory=parts, **{**keys, "model__from": "", "run__steps": 8})
        self.refuse(2, "model.from: fresh weights ->", directory=other, run__seed=8, run__steps=8, model__from=self.source)
        self.refuse(2, "does not hold that checkpoint", directory=parts,
                    **{**keys, "model__from": self.folder / "nowhere", "run__steps": 8})

        self.source.rename(moved)
        said = self.train(parts, run__steps=5, **{**keys, "model__from": moved}).stdout
        self.assertIn(f"model.from: {self.source} then, {moved} now", said)
        self.assertNotIn("weights    ", said)
        shutil.rmtree(moved)  # loaded long ago
        self.train(parts, run__steps=8, **{**keys, "model__from": moved})
        self.assert_same_losses(whole, parts)
        self.assert_same_tensors(runs.checkpoints(whole)[-1], runs.checkpoints(parts)[-1])
        self.assertIn(f"started from     {self.weights} (digest {digest})", self.succeed("inspect", parts).stdout)

    def test_a_source_that_has_trained_on_stays_the_source(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=2, model__from=self.source)
        self.train(self.source, run__steps=30, checkpoint__every=5)
        self.assertFalse(self.weights.exists())
        self.train(directory, run__steps=4, model__from=self.source)

    def test_what_differs_is_told_and_what_is_missing_starts_fresh(self):
        other_text = self.folder / "other.h5"
        (self.folder / "other.txt").write_bytes(self.text.read_bytes()[::-1])
        self.succeed("pack", self.folder / "other.txt", "--out", other_text)
        expected = self.params(self.weights)
        found, said = self.still("none", memory__kind="none", data__path=other_text, model__tied="false")
        self.assertIn("           not there, so fresh: 1 tensor: lm_head.weight\n", said)
        self.assertIn("           not in this model, so left out: 1 tensor: memory.tokens\n", said)
        self.assertIn("           memory: kind rmt there, none here\n", said)
        self.assertIn("           model: tied true there, false here\n", said)
        self.assertIn("           data: content differs\n", said)
        for name in expected:
            if name != "params/memory.tokens":
                self.assertEqual(found[name], expected[name], name)
        fresh, _ = self.still("fresh-head", memory__kind="none", model__tied="false", model__from="")
        self.assertEqual(found["params/lm_head.weight"], fresh["params/lm_head.weight"])
        _, said = self.still("armt", memory__kind="armt", memory__key_dim=8)
        self.assertIn("not there, so fresh: 10 tensors: memory.layers.*.query.weight (2), memory.layers.*.key.weight (2)", said)
        self.assertNotIn("left out", said)
        _, said = self.still("same")
        self.assertNotIn("there", said.split("weights    ")[1].split("step 1/")[0])

    def test_a_scaling_says_what_it_takes_for_the_window_before(self):
        keys = {"rope__scaling": "yarn", "rope__factor": 4, "segment__length": 64}
        told = "is the window of this run, but the weights of model.from were trained with 32"
        for name, length, warns in (("derived", None, True), ("given", 32, False)):
            more = {} if length is None else {"rope__original_length": length}
            result = self.train(self.folder / name, run__steps=1, model__from=self.source, **keys, **more)
            self.assertEqual(told in result.stderr + result.stdout, warns, result.stderr + result.stdout)
            self.assertIn(f"rope: scaling none there, yarn here; factor 4 here; original_length {length or 64} here",
                          result.stdout)
        # With the same scaling, and with drawn ids in another window, as well.
        again = self.train(self.folder / "again", run__steps=1, model__from=self.folder / "given", **{**keys, "segment__length": 128})
        self.assertIn("is the window of this run, but the weights of model.from were trained with 32", again.stderr + again.stdout)
        drawn = self.train(self.folder / "drawn", run__steps=1, model__from=self.source, positions__kind="pose",
                           positions__target=512, **keys)
        self.assertIn(told, drawn.stderr + drawn.stdout)

    def test_data_types_are_converted(self):
        wide, _ = self.still("wide", device__dtype="fp64")
        narrow, _ = self.still("narrow", model__from=self.folder / "wide")
        for name, (kind, shape, content) in self.params(self.weights).items():
            self.assertEqual((wide[name][0], wide[name][1]), ("<f8", shape))
            self.assertEqual(narrow[name], (kind, shape, content), f"{name}: fp32 to fp64 and back is exact")

    def test_what_cannot_be_used_is_refused_and_claims_no_directory(self):
        self.refuse(65, "model.embed_tokens.weight is [256, 64] in this model and [256, 32] in", self.weights,
                    model__from=self.source, model__dim=64)
        self.train(self.folder / "refused", run__steps=1, model__dim=48)
        shutil.rmtree(self.folder / "refused")
        self.refuse(65, "nowhere does not exist", model__from=self.folder / "nowhere")
        (self.folder / "empty").mkdir()
        self.refuse(65, "empty holds no checkpoint", model__from=self.folder / "empty")
        for name in ("config.json", "model-00001-of-00002.safetensors"):
            foreign = self.folder / f"foreign-{name}"
            foreign.mkdir()
            (foreign / name).write_text("{}")
            self.refuse(2, "a model of another program", name, model__from=foreign)

    def damage(self, file, place):
        content = bytearray(file.read_bytes())
        content[int(len(content) * place)] ^= 0x10
        file.write_bytes(content)

    def test_a_damaged_newest_checkpoint_of_a_run_is_passed_over(self):
        for what, name, place in (("weights", "state.h5", 0.3), ("manifest", "manifest.json", 0.5)):
            with self.subTest(what):
                source = self.copy(self.source, f"run-damaged-{what}")
                newest, older = (source / "checkpoints" / f"step-0000000{step}" for step in ("10", "05"))
                self.damage(newest / name, place)
                expected = self.params(older)
                for ranks in (None, 2):
                    directory = self.folder / f"{what}-{ranks}"
                    result = self.train(directory, ranks=ranks, run__steps=1, optimizer__lr=0, optimizer__warmup=0,
                                        model__from=source)
                    self.assertIn(f"checkpoint {newest} is not usable, so the one before it is tried", result.stderr)
                    self.assertIn(f"weights    {older} (step 5, ", result.stdout)
                    self.assertEqual(self.params(runs.checkpoints(directory)[-1]), expected)
                self.damage(older / name, place)
                self.refuse(65, newest / name if what == "manifest" else "none of the 2 checkpoints in",
                            model__from=source)
        runs.record_fault("C6", "the newest checkpoint of model.from's run: one byte of state.h5 or of the manifest", 4,
                          "a warning; the weights of the checkpoint before")

    def test_damage_is_found(self):
        for what, name, place in (("weights", "state.h5", 0.3), ("manifest", "manifest.json", 0.5)):
            with self.subTest(what):
                source = self.copy(self.weights, f"damaged-{what}")
                file = source / name
                self.damage(file, place)
                directory = self.folder / f"from-{what}"
                for ranks in (None, 2):
                    result = self.train(directory, ranks=ranks, code=65, run__steps=1, model__from=source, mesh__segment=1)
                    self.assertIn(str(file), result.stderr)
                self.assertEqual(runs.checkpoints(directory), [])
                self.train(directory, run__steps=1, model__from=self.weights)
        runs.record_fault("C6", "the source of model.from: one byte of state.h5 or of the manifest", 4,
                          "exit 65 before a step; nothing is saved")


if __name__ == "__main__":
    runs.main()
