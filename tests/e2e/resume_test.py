"""A run that was stopped at a random step and started again ends like one that was never stopped.

SPDX-License-Identifier: Apache-2.0
"""
import random
import signal

import runs

STEPS = 60


class Resume(runs.RunTest):
    def stop_at_a_random_step(self, name, ranks):
        """A run stopped by SIGUSR1 somewhere in the middle. Slow polling may miss its end, so it has three tries."""
        step = random.SystemRandom().randint(5, STEPS - 20)
        for attempt in range(3):
            directory = self.folder / f"{name}-{attempt}"
            process = self.start(*self.train_arguments(directory, run__steps=STEPS, mesh__segment=ranks or 1), ranks=ranks)
            if self.await_step(process, directory, step):
                process.send_signal(signal.SIGUSR1)
            if self.code_of(process)[0] == 75:
                break
        saved = runs.checkpoints(directory)[-1]
        self.assertEqual(process.returncode, 75, self.output(process))
        self.assertEqual(saved.name, f"step-{max(runs.losses(directory)):09}", "saved at the last step that was logged")
        self.assertLess(max(runs.losses(directory)), STEPS)
        return directory

    def test_same_mesh_goes_on_with_the_same_bits(self):
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                straight = self.folder / f"straight-{ranks}"
                self.train(straight, ranks=ranks, run__steps=STEPS)
                directory = self.stop_at_a_random_step(f"stopped-{ranks}", ranks)
                stopped = max(runs.losses(directory))
                result = self.train(directory, ranks=ranks, run__steps=STEPS)
                self.assertRegex(result.stdout, rf"(?m)^resume +from step {stopped} ")
                self.assert_same_losses(straight, directory)
                self.assert_same_tensors(runs.checkpoints(straight)[-1], runs.checkpoints(directory)[-1])

    def test_saved_by_two_ranks_resumed_by_one_and_by_three(self):
        straight = self.folder / "straight"
        self.train(straight, ranks=2, run__steps=STEPS)
        expected = runs.losses(straight)
        stopped = self.stop_at_a_random_step("stopped", 2)
        for ranks, mesh in ((1, {}), (3, {}), (2, {"mesh__segment": 1})):
            with self.subTest(ranks=ranks, mesh=mesh):
                directory = self.copy(stopped, f"resumed-{ranks}-{len(mesh)}")
                result = self.train(directory, ranks=ranks, run__steps=STEPS, **mesh)
                self.assertRegex(result.stdout, r"mesh: 1 x 2 x 1 then, ", "the log says that the mesh is another one")
                for step, loss in runs.losses(directory).items():
                    self.assertAlmostEqual(loss / expected[step], 1, delta=1e-3, msg=f"step {step}")

    def test_a_finished_run_has_nothing_left_to_do(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=5)
        before = runs.tensors(runs.checkpoints(directory)[-1])
        self.train(directory, run__steps=5)
        self.assertEqual(sorted(runs.losses(directory)), [1, 2, 3, 4, 5])
        self.assertEqual(runs.tensors(runs.checkpoints(directory)[-1]), before)


if __name__ == "__main__":
    runs.main()
