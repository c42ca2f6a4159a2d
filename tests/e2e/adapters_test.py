"""Adapters: LoRA and memory trained on a frozen base. Their checkpoints hold what was trained and name the base, they go
on and are evaluated with that base and no other, and convert folds them in or writes them as PEFT reads them. What becomes
of the base: adapter_bases_test.py.

SPDX-License-Identifier: Apache-2.0
"""
import json
import shutil
import struct

import adapters
import runs

def safetensors(path):
    """name -> (dtype, shape, bytes): the format as its documentation says it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    data = content[8 + length :]
    assert (8 + length) % 8 == 0 and sum(end - begin for begin, end in (t["data_offsets"] for t in header.values())) == len(data)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


class Adapters(adapters.AdapterTest):
    def test_a_checkpoint_holds_what_was_trained_and_goes_on_with_its_base_alone(self):
        said = self.train(self.adapter, **self.keys, checkpoint__every=3).stdout
        self.assertRegex(said, r"model +[0-9]+ parameters, [0-9]+ trained")
        held = {name for name in runs.tensors(runs.checkpoints(self.adapter)[-1]) if name.startswith("params/")}
        self.assertEqual(len(held), 2 * 7 * 2 + 1)
        self.assertTrue(all("lora_" in name or name == "params/memory.tokens" for name in held), held)
        base = runs.checkpoints(self.base)[-1]
        self.assertIn(f"base             {base} (digest {self.digest(self.base)})", self.succeed("inspect", self.adapter).stdout)

        parts = self.folder / "parts"
        self.train(parts, **{**self.keys, "run__steps": 3})
        self.train(parts, **self.keys)
        self.assert_same_losses(self.adapter, parts)
        two = self.folder / "two"
        self.train(two, ranks=2, **{**self.keys, "run__steps": 3})
        self.train(two, ranks=2, **self.keys)
        for step, loss in runs.losses(self.adapter).items():
            self.assertAlmostEqual(runs.losses(two)[step], loss, delta=2e-5 * loss)

    def test_what_is_frozen_must_be_there(self):
        result = self.train(self.adapter, code=2, **{**self.keys, "model__from": ""})
        self.assertIn("freezes the rest of the model, and model.from does not say", result.stderr)
        result = self.train(self.adapter, code=2, **{**self.keys, "model__train": "memory"})
        self.assertIn("freezes what model.from", result.stderr)
        self.assertIn("lora_A.weight (2)", result.stderr)
        result = self.train(self.adapter, ranks=2, code=2, **{**self.keys, "model__train": "memry"})
        self.assertEqual(result.stderr.count('"memry" names no tensor of this model'), 1, result.stderr)
        runs.record_fault("F4", "model.train that names nothing, or freezes what no checkpoint holds", 3,
                          "refused before a step, with the names that there are or lack")

    def test_a_run_whose_trained_tensors_nothing_reaches_says_so_once(self):
        armt = {"memory__kind": "armt", "memory__key_dim": 4}
        self.train(self.folder / "armt", run__steps=3, **armt)
        uio = {"model__from": self.base, "model__train": "memory", "memory__kind": "uio", "memory__lora_rank": 2}
        keys_of = {"model__from": self.folder / "armt", "model__train": "memory.*.key.weight", **armt}
        for name, keys, remedy in (("one", {**uio, "data__length": 32}, "each sequence is one segment"),
                                   ("reset", {**uio, "memory__reset": "segment"}, "memory.reset = sequence"),
                                   ("cut", {**keys_of, "tbptt__mode": "window", "tbptt__window": 1}, "or tbptt.mode = full"),
                                   ("uio", uio, None), ("armt", keys_of, None)):
            with self.subTest(name):
                told = self.train(self.folder / f"run-{name}", ranks=2, run__steps=2, **keys).stderr
                says = f"no gradient reaches what is trained (model.train = {keys['model__train']}): all of it was 0"
                self.assertEqual(told.count(says), 1 if remedy else 0, told)
                self.assertIn(remedy or "", told)

    def test_merged_weights_give_the_same_losses(self):
        for dtype, tolerance in (("fp32", 1e-5), ("fp64", 1e-12)):
            with self.subTest(dtype):
                base, adapter, merged, still = (self.folder / f"{name}-{dtype}" for name in ("base", "adapter", "merged", "still"))
                self.train(base, run__steps=4, device__dtype=dtype)
                self.train(adapter, **{**self.keys, "device__dtype": dtype, "model__from": base})
                expected = self.losses(adapter)
                self.succeed("convert", adapter, "--merge", "--out", merged)
                shutil.rmtree(base)  # needed no more
                self.succeed("inspect", merged)
                found = self.losses(merged)
                self.assertEqual(len(found), len(expected))
                for one, other in zip(found, expected):
                    self.assertAlmostEqual(one, other, delta=tolerance * other)
                said = self.train(still, run__steps=1, optimizer__lr=0, optimizer__warmup=0, device__dtype=dtype,
                                  model__from=merged).stdout
                self.assertNotIn("so fresh", said)
                self.assertEqual(self.losses(still), found)

    def test_a_run_that_goes_on_from_merged_weights_says_that_its_optimizer_is_new(self):
        merged, told = self.folder / "merged", "optimizer: its state in this checkpoint is zero"
        self.train(self.adapter, **self.keys)
        self.assertNotIn(told, self.train(self.adapter, **{**self.keys, "run__steps": 7}).stdout)
        self.succeed("convert", self.adapter, "--merge", "--out", merged)
        for ranks, steps in ((None, 8), (2, 9)):
            run = self.copy(merged, f"merged-{ranks}")
            keys = {"optimizer__schedule": "constant", "optimizer__decay": 0, "run__steps": steps}
            self.assertIn(told, self.train(run, ranks=ranks, **keys).stdout)
            self.assertNotIn(told, self.train(run, ranks=ranks, **{**keys, "run__steps": steps + 1}).stdout)

    def test_an_evaluation_with_other_settings_says_so(self):
        self.train(self.adapter, **self.keys)
        plain = self.evaluate(self.adapter)
        for section in ("model", "lora", "memory", "segment"):
            self.assertNotIn(section, plain)
        table = self.succeed("eval", self.adapter, "--lora.alpha=12", "--segment.length=64", "--memory.mask=block",
                             f"--eval.json={self.folder / 'eval.json'}").stdout
        found = json.loads((self.folder / "eval.json").read_text())
        for section, trained, evaluated in (("lora", "alpha 6", "alpha 12"), ("segment", "length 32", "length 64"),
                                            ("memory", "mask causal", "mask block")):
            self.assertIn(f"\n{section}: trained with {trained}, evaluated with {evaluated}\n", table)
            self.assertEqual(found[section], {"trained": trained, "evaluated": evaluated})
        uio = {"memory__kind": "uio", "memory__lora_rank": 2, "run__steps": 2}
        self.train(self.folder / "uio", **uio)
        table = self.succeed("eval", self.folder / "uio", "--memory.lora_alpha=8", "--memory.tokens=8").stdout
        self.assertIn("\nmemory: trained with tokens 4, lora_alpha 16, evaluated with tokens 8, lora_alpha 8\n", table)
        self.train(self.folder / "halo", memory__kind="halo", memory__window=20, run__steps=2)
        table = self.succeed("eval", self.folder / "halo", "--memory.window=24").stdout
        self.assertIn("\nmemory: trained with window 20, evaluated with window 24\n", table)

    def test_peft_reads_what_is_written(self):
        self.train(self.adapter, **self.keys)
        out = self.folder / "peft"
        said = self.succeed("convert", self.adapter, "--to-peft", out).stdout
        self.assertIn("memory.tokens", said)
        config = json.loads((out / "adapter_config.json").read_text())
        self.assertEqual((config["peft_type"], config["r"], config["lora_alpha"]), ("LORA", 3, 6))
        self.assertEqual(len(config["target_modules"]), 7)
        written = safetensors(out / "adapter_model.safetensors")
        held = runs.tensors(runs.checkpoints(self.adapter)[-1])
        self.assertEqual(len(written), 2 * 7 * 2)
        for name, (dtype, shape, values) in written.items():
            self.assertTrue(name.startswith("base_model.model.model.layers."), name)
            kept = held["params/" + name.removeprefix("base_model.model.")]
            self.assertEqual((dtype, tuple(shape), values), ("F32", kept[1], kept[2]), name)
        self.assertEqual(written["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"][1], [32, 3])

    def test_peft_computes_the_same_loss(self):
        try:
            import h5py
            import peft
            import torch
            import transformers
        except ImportError as missing:
            self.skipTest(f"needs PEFT and transformers: {missing}")
        plain = {"memory__kind": "none", "segment__length": 0}
        base, adapter, out = self.folder / "plain", self.folder / "update", self.folder / "peft"
        self.train(base, run__steps=8, **plain)
        self.train(adapter, **{**self.keys, **plain, "model__from": base, "model__train": "lora", "optimizer__lr": 3e-2})
        self.succeed("convert", adapter, "--to-peft", out)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            vocab_size=256, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
            rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, max_position_embeddings=128))
        with h5py.File(runs.checkpoints(base)[-1] / "state.h5", "r") as file:
            weights = {name: torch.from_numpy(file["params"][name][()]) for name in file["params"]}
        missing, unexpected = model.load_state_dict(weights, strict=False)
        self.assertEqual((set(missing) - {"lm_head.weight"}, unexpected), (set(), []))
        adapted = peft.PeftModel.from_pretrained(model, str(out)).eval()
        count, length = 8, 128
        ids = torch.tensor(list(self.text.read_bytes()[: count * length + 1]))
        with torch.no_grad():
            logits = adapted(input_ids=ids[:-1].reshape(count, length)).logits.double()
            with adapted.disable_adapter():
                before = adapted(input_ids=ids[:-1].reshape(count, length)).logits.double()
        of = [float(torch.nn.functional.cross_entropy(x.reshape(-1, 256), ids[1:])) for x in (logits, before)]
        found = self.evaluate(adapter, "--eval.sequences=8")["loss"]
        self.assertAlmostEqual(found, of[0], delta=2e-6 * found)
        self.assertGreater(abs(of[1] - found), 1e-4)  # the update is what makes the loss

    def test_convert_says_what_it_cannot_do(self):
        for arguments, words in (((self.base, "--merge", "--out", self.folder / "x"), "has no updates to convert"),
                                 ((self.base, "--merge"), "one of two things"),
                                 ((self.base, "--to-peft", self.folder / "x", "--merge"), "one of two things")):
            self.assertIn(words, self.succeed("convert", *arguments, code=2).stderr)
        self.train(self.adapter, **self.keys)
        self.assertIn("is there already",
                      self.succeed("convert", self.adapter, "--merge", "--out", self.base, code=2).stderr)
        self.assertIn("does not exist", self.succeed("convert", self.folder / "nowhere", "--merge", "--out",
                                                     self.folder / "x", code=65).stderr)
        runs.record_fault("F4", "convert of a run without updates, of nothing, onto something, or to two things", 5,
                          "refused with what to give; nothing is written")


if __name__ == "__main__":
    runs.main()
