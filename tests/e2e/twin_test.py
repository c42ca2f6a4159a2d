"""A run on a device has the losses, norms and checkpoints of the references, and goes on where they stopped.

The device is its twin (the program memring_twin), which shows a forgotten copy, a missing event or a buffer that is used
again too early; the references are what the CPU computes in fp64.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import re
import unittest.mock

import runs

TWIN = {"program": pathlib.Path(os.environ["MEMRING_TWIN"]), "kind": "cuda"}
REFERENCES = {"program": runs.MEMRING, "kind": "cpu"}
MESHES = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]  # data x segment x token
EVALUATED = [(1, 1, 1), (1, 2, 1)]
MEMORIES = {"none": {}, "rmt": {"memory__tokens": 2}, "armt": {"memory__tokens": 2, "memory__key_dim": 4},
            "halo": {"memory__window": 20, "memory__sinks": 2}}
HALF, STEPS = 2, 4


class Twin(runs.RunTest):
    text_size = 4000

    def setUp(self):
        super().setUp()
        self.config.write_text(runs.CONFIG.replace("tokens = 4\n", ""))  # that of the memories

    def run_on(self, where, *arguments, ranks):
        return self.succeed(*arguments, f"--device.kind={where['kind']}", program=where["program"],
                            ranks=ranks if ranks > 1 else None)

    def train_on(self, where, directory, mesh, **keys):
        data, segment, token = mesh
        keys = {"device__dtype": "fp64", "model__dim": 16, "segment__length": 16, "data__length": 60, "run__steps": STEPS,
                "checkpoint__every": HALF, "mesh__data": data, "mesh__segment": segment, "mesh__token": token, **keys}
        self.run_on(where, *self.train_arguments(directory, **keys), ranks=data * segment * token)
        return directory

    def told(self, directory):
        """What the log has of each step, to the last bit."""
        told = {record["step"]: (record["loss"], record["norm"]) for record in runs.metrics(directory, "step")}
        self.assertEqual(sorted(told), list(range(1, STEPS + 1)))
        return told

    def evaluated_on(self, where, directory, ranks):
        path = self.folder / "eval.json"
        self.run_on(where, "eval", directory, "--json", path, "--eval.sequences=6", ranks=ranks)
        found = json.loads(path.read_text())
        return found["loss"], found["buckets"], found.get("reset", {}).get("loss")

    def expect_the_bits_of_the_references(self, mesh, **keys):
        name = "-".join(map(str, [keys["memory__kind"], *mesh]))
        expected = self.train_on(REFERENCES, self.folder / f"{name}-references", mesh, **keys)
        found = self.train_on(TWIN, self.folder / f"{name}-twin", mesh, **keys)
        self.assertEqual(self.told(found), self.told(expected))
        for first, second in zip(runs.checkpoints(expected), runs.checkpoints(found), strict=True):
            self.assert_same_tensors(first, second)
        # Each goes on from what the other has saved halfway; on several ranks that there is no difference must do.
        for where, saved in ((TWIN, expected), (REFERENCES, found))[:2 if max(mesh) == 1 else 1]:
            resumed = self.copy(saved, f"{saved.name}-resumed")
            self.train_on(where, resumed, mesh, checkpoint__resume=HALF, **keys)
            self.assertEqual(self.told(resumed), self.told(expected))
            self.assert_same_tensors(runs.checkpoints(resumed)[-1], runs.checkpoints(expected)[-1])
        return found

    def test_has_the_bits_of_the_references_and_goes_on_where_they_stopped(self):
        for kind, keys in MEMORIES.items():
            for mesh in MESHES:
                with self.subTest(memory=kind, mesh=mesh):
                    run = self.expect_the_bits_of_the_references(mesh, memory__kind=kind, **keys)
                    if mesh in EVALUATED:
                        self.assertEqual(*(self.evaluated_on(where, run, max(mesh)) for where in (TWIN, REFERENCES)))

    def test_an_adapter_has_them_too(self):
        base = self.train_on(REFERENCES, self.folder / "base", MESHES[0], memory__kind="rmt", memory__tokens=2)
        for mesh in EVALUATED:
            run = self.expect_the_bits_of_the_references(mesh, memory__kind="rmt", memory__tokens=2, model__from=base,
                                                         model__train="lora,memory", lora__rank=2, lora__targets="all")
            self.assertEqual(*(self.evaluated_on(where, run, max(mesh)) for where in (TWIN, REFERENCES)))

    def test_ranks_of_a_host_take_its_devices_in_turn(self):
        """Two ranks on one device have half of it each, on two devices all."""
        limits = {}
        for devices in ("1", "2"):
            with unittest.mock.patch.dict(os.environ, MEMRING_TWIN_DEVICES=devices):
                arguments = self.train_arguments(self.folder / devices, run__steps=1, memory__tokens=2)
                told = self.succeed(*arguments, "--device.kind=cuda", program=TWIN["program"], ranks=2).stdout
            limits[devices] = float(re.search(r"limit +([0-9.]+) MiB a rank.*twin of a device", told).group(1))
        self.assertEqual(limits, {"1": 1884.2, "2": 3768.3})

    def test_nothing_is_measured_on_a_device(self):
        for benchmark in ("step", "ops", "checkpoint"):
            refused = self.succeed("bench", benchmark, "--device.kind=cuda", program=TWIN["program"], code=2)
            self.assertIn("memring bench measures on the CPU, and device.kind = cuda", refused.stderr)


if __name__ == "__main__":
    runs.main()
