"""What one mesh saved, every other mesh of 1 to 4 ranks goes on with: the same weights, and the same course of the loss.

SPDX-License-Identifier: Apache-2.0
"""
import itertools
import shutil

import h5py
import numpy
import runs

MESHES = [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 3, 1), (1, 1, 3), (4, 1, 1), (2, 2, 1), (1, 2, 2)]  # data x segment x token
SAVED, END = 6, 12  # steps

# 5 sequences of 7 segments, the last one short: nothing divides by 2, 3 or 4. A learning rate that forgets run.steps.
UNEVEN = {"data__batch": 5, "data__micro_batch": 0, "data__length": 106, "segment__length": 16,
          "optimizer__schedule": "constant", "optimizer__decay": 0, "checkpoint__every": SAVED}
TOLERANCE = {"fp32": 2e-5, "fp64": 1e-9}


def name_of(mesh):
    return "{}x{}x{}".format(*mesh)


def weights(checkpoint):
    return {name: value for name, value in runs.tensors(checkpoint).items() if name.startswith("params/")}


class ResumeOnOtherMeshes(runs.RunTest):
    def setUp(self):
        super().setUp()
        self.copies = itertools.count()

    def run_on(self, mesh, directory, **keys):
        data, segment, token = mesh
        return self.train(directory, ranks=data * segment * token, mesh__data=data, mesh__segment=segment, mesh__token=token,
                          **{**UNEVEN, **keys})

    def undisturbed(self, mesh, dtype):
        """A run from start to end, and a directory as if it had been stopped at step SAVED."""
        directory = self.folder / f"straight-{name_of(mesh)}-{dtype}"
        self.run_on(mesh, directory, run__steps=END, device__dtype=dtype)
        stopped = self.copy(directory, f"stopped-{name_of(mesh)}-{dtype}")
        shutil.rmtree(runs.checkpoints(stopped)[-1])
        return directory, stopped

    def resume(self, stopped, saver, loader, **keys):
        directory = self.copy(stopped, f"resumed-{next(self.copies)}")
        result = self.run_on(loader, directory, **keys)
        self.assertRegex(result.stdout, rf"(?m)^resume +from step {SAVED} ")
        self.assertEqual("mesh: " in result.stdout, saver != loader, "the log says whether the mesh is another one")
        logged = [record["step"] for record in runs.metrics(directory, "step")]
        self.assertEqual(logged, list(range(1, len(logged) + 1)), "each step is logged once")
        return directory

    def assert_close_losses(self, expected, found, tolerance):
        one, two = runs.losses(expected), runs.losses(found)
        self.assertEqual(list(one), list(two), "the logs hold different steps")
        far = {step: (one[step], two[step]) for step in one if abs(two[step] / one[step] - 1) > tolerance}
        self.assertEqual(far, {}, f"losses differ by more than {tolerance}")

    def assert_close_tensors(self, first, second, tolerance):
        """Every tensor, moments included, as one vector: relative to its length."""
        with h5py.File(first / "state.h5") as one, h5py.File(second / "state.h5") as two:
            names = []
            one.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in names:
                a, b = (file[name][()].astype(numpy.float64) for file in (one, two))
                self.assertLess(numpy.linalg.norm(a - b), tolerance * numpy.linalg.norm(a) + 1e-12, name)

    def assert_goes_on(self, straight, stopped, saver, loader, dtype):
        resumed = self.resume(stopped, saver, loader, run__steps=END, device__dtype=dtype)
        ends = runs.checkpoints(straight)[-1], runs.checkpoints(resumed)[-1]
        if saver == loader:
            self.assert_same_losses(straight, resumed)
            self.assert_same_tensors(*ends)
        else:
            self.assert_close_losses(straight, resumed, TOLERANCE[dtype])
            if dtype == "fp64":
                self.assert_close_tensors(*ends, 1e-7)

    def assert_same_weights_are_loaded(self, stopped, saver, loader):
        """A step at learning rate 0 changes no weight: what is saved behind it is what was loaded."""
        still = self.resume(stopped, saver, loader, run__steps=SAVED + 1, optimizer__lr=0, device__dtype="fp32")
        before, after = weights(runs.checkpoints(stopped)[-1]), weights(runs.checkpoints(still)[-1])
        self.assertGreater(len(before), 10)
        self.assertEqual([name for name in before if before[name] != after.get(name)], [])

    def test_every_mesh_goes_on_from_every_other(self):
        pairs = 0
        for index, saver in enumerate(MESHES):
            # In the short form each mesh saves once and loads once.
            loaders = runs.amount([MESHES[(index + 3) % len(MESHES)]], MESHES)
            straight, stopped = self.undisturbed(saver, "fp32")
            for loader in loaders:
                with self.subTest(saved_by=name_of(saver), resumed_by=name_of(loader)):
                    self.assert_goes_on(straight, stopped, saver, loader, "fp32")
                    if runs.amount(False, True):
                        self.assert_same_weights_are_loaded(stopped, saver, loader)
                    pairs += 1
        self.assertEqual(pairs, runs.amount(len(MESHES), len(MESHES) ** 2))
        runs.record_fault("C7", "saved by one mesh of 1 to 4 ranks, resumed by another (data x segment x token, uneven sizes, fp32)",
                          pairs, "weights loaded bit for bit; losses of the undisturbed run (2e-5), same bits on the same mesh")

    def test_in_double_precision_the_moments_agree_too(self):
        pairs = runs.amount([((2, 2, 1), (1, 1, 3))], [(saver, loader) for saver in MESHES for loader in MESHES])
        runs_of = {}
        for saver, loader in pairs:
            with self.subTest(saved_by=name_of(saver), resumed_by=name_of(loader)):
                if saver not in runs_of:
                    runs_of[saver] = self.undisturbed(saver, "fp64")
                self.assert_goes_on(*runs_of[saver], saver, loader, "fp64")
        runs.record_fault("C7", "saved by one mesh of 1 to 4 ranks, resumed by another (data x segment x token, uneven sizes, fp64)",
                          len(pairs), "losses of the undisturbed run (1e-9), weights and moments too (1e-7)")


if __name__ == "__main__":
    runs.main()
