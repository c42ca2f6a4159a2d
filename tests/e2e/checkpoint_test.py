"""Checkpoints are readable by other programs, describe themselves, and are replaced by older ones when damaged.

SPDX-License-Identifier: Apache-2.0
"""
import json
import subprocess

import h5py
import numpy
import runs


class Checkpoint(runs.RunTest):
    def setUp(self):
        super().setUp()
        self.directory = self.folder / "run"
        self.train(self.directory, ranks=2, run__steps=6, checkpoint__every=2, checkpoint__keep=2)
        self.older, self.newest = runs.checkpoints(self.directory)

    def test_only_the_newest_stay(self):
        self.assertEqual([self.older.name, self.newest.name], ["step-000000004", "step-000000006"])

    def test_h5py_reads_full_logical_tensors(self):
        with h5py.File(self.newest / "state.h5", "r") as file:
            params, mean, square = file["params"], file["optimizer/m"], file["optimizer/v"]
            self.assertEqual(params["model.embed_tokens.weight"].shape, (256, 32))
            self.assertEqual(params["memory.tokens"].shape, (4, 32))
            self.assertIn("model.layers.1.self_attn.q_proj.weight", params)
            self.assertEqual(set(params), set(mean))
            self.assertEqual(set(params), set(square))
            for name, tensor in params.items():
                self.assertEqual(tensor.dtype, numpy.dtype("<f4"), name)
                self.assertEqual(tensor.shape, mean[name].shape)
                self.assertTrue(numpy.isfinite(tensor[()]).all(), name)
                self.assertGreater(numpy.abs(mean[name][()]).max(), 0, f"{name} was never trained")
                self.assertGreaterEqual(square[name][()].min(), 0, name)

    def test_h5dump_reads_it(self):
        result = subprocess.run(["h5dump", "--header", self.newest / "state.h5"], capture_output=True, text=True, check=True)
        for part in ('GROUP "params"', 'DATASET "model.norm.weight"', 'GROUP "optimizer"', 'GROUP "state"'):
            self.assertIn(part, result.stdout)

    def test_inspect_tells_what_is_in_it(self):
        text = self.succeed("inspect", self.newest).stdout
        self.assertRegex(text, r"step +6 ")
        self.assertIn("model.embed_tokens.weight [256, 32]", text)
        self.assertIn("2 ranks", text)
        self.assertIn("all correct", text)
        self.assertIn("step-000000004", self.succeed("inspect", self.directory).stdout)

    def damage(self, checkpoint):
        """One bit of one weight."""
        path = checkpoint / "state.h5"
        with h5py.File(path, "r") as file:
            offset = file["params/model.norm.weight"].id.get_offset()
        data = bytearray(path.read_bytes())
        data[offset + 5] ^= 0x10
        path.write_bytes(data)

    def test_one_flipped_bit_is_found_and_the_previous_checkpoint_is_taken(self):
        self.damage(self.newest)
        result = runs.run("inspect", self.newest)
        self.assertEqual(result.returncode, 65, result.stdout)
        self.assertIn(str(self.newest / "state.h5"), result.stderr)
        resumed = self.train(self.directory, ranks=2, run__steps=8)
        self.assertRegex(resumed.stdout, r"(?m)^resume +from step 4 ")
        self.assertIn("step-000000006", resumed.stderr, "the damaged checkpoint is named")
        logged = [record["step"] for record in runs.metrics(self.directory, "step")]
        self.assertEqual(logged, list(range(1, 9)), "each step is logged once")

    def test_without_a_good_checkpoint_nothing_is_trained(self):
        self.damage(self.older)
        self.damage(self.newest)
        result = runs.run(*self.train_arguments(self.directory, run__steps=8))
        self.assertEqual(result.returncode, 65, result.stdout + result.stderr)

    def test_manifest_is_json_and_names_the_file(self):
        manifest = json.loads((self.newest / "manifest.json").read_text())
        self.assertEqual(manifest["state"]["step"], 6)


if __name__ == "__main__":
    runs.main()
