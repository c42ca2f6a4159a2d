"""run.deterministic = strict: ten training steps leave the same bits on every mesh and number of threads, resumed on another mesh too.

SPDX-License-Identifier: Apache-2.0
"""
import runs

STEPS = 10

# 3 sequences of 3 segments, the last one short; rows of a segment that no block divides; a learning rate that forgets run.steps.
STRICT = {"run__deterministic": "strict", "run__block": 16, "data__batch": 3, "data__micro_batch": 0, "data__length": 106,
          "segment__length": 45, "optimizer__schedule": "constant", "optimizer__decay": 0, "optimizer__warmup": 2}
KINDS = {"rmt": {"memory__kind": "rmt"}, "armt": {"memory__kind": "armt", "memory__key_dim": 8}, "none": {"memory__kind": "none"},
         "halo": {"memory__kind": "halo", "memory__window": 60, "memory__sinks": 2}}
MESHES = {"rmt": [(2, 1, 1), (1, 1, 2), (1, 3, 1), (1, 2, 2)], "armt": [(1, 2, 1), (1, 1, 3), (2, 1, 2)], "none": [(3, 1, 1), (1, 1, 4)],
          "halo": [(1, 2, 2)]}


class Strict(runs.RunTest):
    def run_on(self, mesh, directory, **keys):
        data, segment, token = mesh
        return self.train(directory, ranks=data * segment * token, mesh__data=data, mesh__segment=segment, mesh__token=token,
                          **{**STRICT, "run__steps": STEPS, **keys})

    def assert_same_run(self, one, two, about):
        self.assertEqual(len(runs.losses(one)), STEPS)
        self.assert_same_losses(one, two, about)
        first, second = ([(r["norm"], r["tokens"]) for r in runs.metrics(d, "step")] for d in (one, two))
        self.assertEqual(first, second, about)
        self.assert_same_tensors(runs.checkpoints(one)[-1], runs.checkpoints(two)[-1], about)

    def test_ten_steps_have_the_same_bits_on_every_mesh(self):
        for kind, keys in KINDS.items():
            alone = self.folder / kind
            self.run_on((1, 1, 1), alone, **keys)
            for mesh in MESHES[kind]:
                with self.subTest(kind=kind, mesh=mesh):
                    directory = self.folder / "{}-{}x{}x{}".format(kind, *mesh)
                    self.run_on(mesh, directory, **keys)
                    self.assert_same_run(alone, directory, f"{kind} on {mesh}")

    def test_threads_leave_no_trace(self):
        wide = {"model__dim": 128, "segment__length": 300, "data__length": 700, "data__batch": 1, "run__block": 64}
        text = [self.folder / f"threads-{threads}" for threads in (1, 2)]
        for threads, directory in enumerate(text, 1):
            self.run_on((1, 1, 1), directory, device__threads=threads, **wide)
        self.assert_same_run(*text, "one thread and two")

    def test_a_run_goes_on_with_the_same_bits_on_another_mesh(self):
        for kind in ("rmt", "armt"):
            with self.subTest(kind=kind):
                straight, moved = self.folder / f"{kind}-straight", self.folder / f"{kind}-moved"
                self.run_on((1, 1, 1), straight, **KINDS[kind])
                self.run_on((1, 1, 2), moved, run__steps=STEPS // 2, **KINDS[kind])
                result = self.run_on((1, 3, 1), moved, **KINDS[kind])
                self.assertRegex(result.stdout, rf"(?m)^resume +from step {STEPS // 2} ")
                self.assert_same_run(straight, moved, "two ranks, then three")


if __name__ == "__main__":
    runs.main()
