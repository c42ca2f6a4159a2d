"""A run that is stopped and started again many times ends with the bits of one that was never stopped.

SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import signal

import runs

# A learning rate that does not depend on run.steps, which is one of the ways to stop here.
KEYS = {"optimizer__schedule": "constant", "optimizer__decay": 0, "checkpoint__every": 7, "data__batch": 5}


class ResumeCycles(runs.RunTest):
    def setUp(self):
        super().setUp()
        self.random = random.Random(seed := random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed}")  # of the moments; where a run stops also depends on the machine

    def stop_by_steps(self, directory, step, ranks):
        self.train(directory, ranks=ranks, run__steps=step, **KEYS)

    def stop_by_signal(self, directory, step, ranks, number):
        """Started without an end; the signal goes to a rank of its own choice once `step` is logged."""
        keys = {"mesh__segment": ranks or 1, **KEYS, "run__steps": 1000000}
        process = self.start(*self.train_arguments(directory, **keys), ranks=ranks)
        self.assertTrue(self.await_step(process, directory, step), self.output(process))
        target = self.random.choice(runs.children_of(process.pid)) if ranks else process.pid
        os.kill(target, number)
        self.assertEqual(self.code_of(process)[0], 75, self.output(process))

    def never_stop(self, directory, end, ranks):
        keys = {"mesh__segment": ranks or 1, **KEYS, "run__steps": end, "checkpoint__every": 0}
        self.succeed(*self.train_arguments(directory, **keys), ranks=ranks, timeout=600)

    def last_saved(self, directory):
        saved = runs.checkpoints(directory)
        return int(saved[-1].name.removeprefix("step-")) if saved else 0

    def stop_and_resume(self, directory, ranks, cycles):
        """Stops `cycles` times at random steps; returns how often in which way."""
        ways = {"SIGUSR1": signal.SIGUSR1, "SIGTERM": signal.SIGTERM, "run.steps": None}
        stops = dict.fromkeys(ways, 0)
        for _ in range(cycles):
            before = self.last_saved(directory)
            step = before + self.random.randint(1, 12)
            way = self.random.choice(list(ways))
            if ways[way] is None:
                self.stop_by_steps(directory, step, ranks)
            else:
                self.stop_by_signal(directory, step, ranks, ways[way])
            stops[way] += 1
            logged = [record["step"] for record in runs.metrics(directory, "step")]
            self.assertEqual(logged, list(range(1, len(logged) + 1)), f"after {way} each step is logged once, in order")
            self.assertEqual(self.last_saved(directory), logged[-1], f"{way} saved at the last step that was logged")
            self.assertGreaterEqual(logged[-1], step)
        return stops

    def test_the_bits_of_a_run_that_was_never_stopped(self):
        for ranks in (None, 2):
            with self.subTest(ranks=ranks or 1):
                often, straight = self.folder / f"often-{ranks}", self.folder / f"straight-{ranks}"
                cycles = runs.amount(5, 200)
                stops = self.stop_and_resume(often, ranks, cycles)
                end = self.last_saved(often) + 5
                self.stop_by_steps(often, end, ranks)
                self.never_stop(straight, end, ranks)
                # Equal losses, bit for bit, step by step: each step had its own sequences, none twice and none left out.
                self.assert_same_losses(straight, often)
                self.assertEqual(len(set(runs.losses(often).values())), end, "losses tell steps apart")
                self.assert_same_tensors(runs.checkpoints(straight)[-1], runs.checkpoints(often)[-1])
                resumed = [record["step"] for record in runs.metrics(often, "resume")]
                self.assertEqual(len(resumed), cycles, "every start but the first resumed")
                self.assertEqual(resumed, sorted(set(resumed)))
                ways = ", ".join(f"{count} by {way}" for way, count in stops.items())
                runs.record_fault("C8", f"stopped at a random step and started again, {ranks or 1} rank(s): {ways}", cycles,
                                  f"after {end} steps the bits of the uninterrupted run; each step logged, each sequence used, once")


if __name__ == "__main__":
    runs.main()
