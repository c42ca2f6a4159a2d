"""memring bench: what it prints and writes is whole, it leaves nothing behind, and (long form) its budgets are kept.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys
import time

import runs

TINY = ("--model.layers=1", "--model.dim=16", "--model.heads=2", "--data.length=32", "--device.threads=1")
MISSED = (0, 1)  # exit codes: a tiny state on a busy disk may miss its budgets, which says nothing


class Bench(runs.RunTest):
    def measure(self, *arguments, ranks=None, codes=MISSED, timeout=100):
        path = self.folder / "bench.json"
        result = runs.run("bench", "checkpoint", f"--run.dir={self.folder}", "--json", path, *arguments, ranks=ranks,
                          timeout=timeout)
        self.assertIn(result.returncode, codes, result.stdout + result.stderr)
        self.assertFalse((self.folder / "memring-bench").exists(), "left behind")
        return json.loads(path.read_text()), result

    def test_without_a_name_the_benchmarks_are_listed(self):
        listed = self.succeed("bench").stdout
        for name in ("gemm", "ops", "attention", "step", "rmt-step", "uio-step", "adapter-step", "scaling", "checkpoint",
                     "loader", "length", "uio-length"):
            self.assertRegex(listed, rf"(?m)^{name} +\S")

    def small(self, name, *arguments, ranks=None):
        """One benchmark on a model that takes no time."""
        result = runs.run("bench", name, *TINY, "--model.ffn=32", "--model.vocab=64", "--data.batch=2", "--pairs=2",
                          f"--run.dir={self.folder}", "--json", self.folder / "small.json", *arguments, ranks=ranks)
        self.assertIn(result.returncode, MISSED, result.stdout + result.stderr)
        found = json.loads((self.folder / "small.json").read_text())
        for figure in found["figures"]:
            self.assertLessEqual(figure["low"], figure["median"])
            self.assertLessEqual(figure["median"], figure["high"])
        return found, {figure["name"]: figure for figure in found["figures"]}

    def test_operators_are_measured_beside_their_roof(self):
        for name, operator in (("gemm", "gate, up weight gradient"), ("attention", "forward and backward"), ("ops", "AdamW step")):
            _, figures = self.small(name)
            self.assertGreater(figures[operator]["low"], 0)

    def test_a_step_is_measured_beside_the_ceiling_on_any_ranks(self):
        for ranks in (None, 2):
            _, figures = self.small("step", "--device.dtype=fp32", ranks=ranks)  # bf16 has no budget
            self.assertGreater(figures["speed"]["low"], 0)
            self.assertEqual(figures["share of the GEMM ceiling"]["at_least"], 85)
            self.assertGreater(figures["planned memory of a rank"]["median"], 0)
            self.assertEqual(figures["process start to first step"]["at_most"], 1)
        _, figures = self.small("rmt-step", "--device.dtype=fp32", "--segment.length=8", "--memory.tokens=2")
        self.assertEqual(figures["activations kept: share of the GEMM ceiling"]["at_least"], 80)
        self.assertEqual(figures["recomputed: share of the GEMM ceiling"]["at_least"], 62)
        for way in ("activations kept", "recomputed"):
            self.assertGreater(figures[f"{way}: planned memory of a rank"]["median"], 0)
            self.assertEqual(figures[f"{way}: measured beside the plan"]["at_most"], 12)

    def test_compressed_segments_are_measured_by_step_and_by_length(self):
        uio = ("--device.dtype=fp32", "--model.layers=2", "--segment.length=8", "--memory.tokens=2")
        _, figures = self.small("uio-step", *uio)
        self.assertEqual(figures["all trained: share of the GEMM ceiling"]["at_least"], 80)
        self.assertLess(figures["memory trained: planned memory of a rank"]["median"],
                        figures["all trained: planned memory of a rank"]["median"])
        _, figures = self.small("uio-length", *uio)
        off = [figure for name, figure in figures.items() if name.startswith("  cost per token of 128 off the line")]
        self.assertEqual(off[0]["at_most"], 5)
        # One state, its adjoint, and a layer's keys and values with their gradients: 2 tokens of 16 numbers.
        self.assertIn("  off what a segment leaves, 1536 B", figures)

    def test_an_adapter_is_measured_beside_training_everything(self):
        _, figures = self.small("adapter-step", "--device.dtype=fp32", "--lora.rank=2")
        self.assertEqual(figures["time off that"]["at_most"], 10)
        self.assertLess(figures["by flops"]["high"], 100)
        self.assertLess(figures["by plan"]["high"], 100)
        for what in ("all", "updates"):
            self.assertEqual(figures[f"{what} trained: measured beside the plan"]["at_most"], 12)

    def test_a_mesh_is_measured_against_one_of_its_ranks(self):
        found, figures = self.small("scaling", "--data.length=64", ranks=2)
        self.assertEqual(found["setting"]["mesh"], "1 x 1 x 2")
        self.assertEqual(figures["share of the machine's own scaling"]["at_least"], 93)
        self.assertGreater(figures["speedup over one rank"]["low"], 0)

    def test_a_wavefront_is_measured_against_one_of_its_ranks(self):
        found, figures = self.small("wavefront", "--data.length=64", "--segment.length=8", "--model.layers=2", ranks=2)
        self.assertEqual(found["setting"]["mesh"], "1 x 2 x 1")
        self.assertGreater(figures["speedup over one rank"]["low"], 0)

    def test_ring_attention_is_measured_beside_its_parts(self):
        found, figures = self.small("ring", "--data.length=65", ranks=3)
        self.assertIn("6 a rank", found["setting"]["messages"])
        for name in ("overlapped", "each message before its products", "products alone", "messages alone"):
            self.assertGreater(figures[name]["low"], 0)
        alone = runs.run("bench", "ring")
        self.assertEqual(alone.returncode, 2)
        self.assertIn("mpirun -n 2 memring bench ring", alone.stderr)

    def test_a_profile_adds_up_to_the_step(self):
        found, _ = self.small("step", "--profile")
        shares = {line["name"]: line["share"] for line in found["profile"]}
        self.assertIn("Attention backward", shares)
        self.assertIn("between operators", shares)
        self.assertAlmostEqual(sum(shares.values()), 100, places=6)
        result = runs.run("bench", "gemm", "--profile")
        self.assertEqual(result.returncode, 2)
        self.assertIn("memring bench step --profile", result.stderr)

    def test_length_tells_cost_and_memory_of_each_way_to_train(self):
        _, figures = self.small("length", "--data.length=512", "--segment.length=32", "--memory.tokens=2")
        for mode in ("evaluation", "window training", "full training"):
            for tokens in ("512", "2K", "8K"):
                self.assertGreater(figures[f"{mode}, {tokens} tokens"]["low"], 0)

    def test_the_loader_is_measured_beside_plain_reads(self):
        _, figures = self.small("loader")
        self.assertGreater(figures["first pass, digests checked"]["low"], 0)
        self.assertFalse((self.folder / "memring-bench").exists(), "left behind")

    def test_two_commands_are_compared_in_turns(self):
        bench = f"{runs.MEMRING} bench attention --data.length=64 --device.threads=1 --pairs=1"
        compare = [sys.executable, runs.LAUNCH / "compare.py", "--rounds", "2"]
        result = subprocess.run([*compare, bench, bench], capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"(?m)^forward and backward, GF/s +\S+ +\S+ +\d+\.\d+  ")
        slow = subprocess.run([*compare, "--least", "1000", bench, bench], capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(slow.returncode, 1, slow.stdout + slow.stderr)
        self.assertIn("TOO LOW", slow.stdout)
        broken = subprocess.run([*compare, bench, bench + " --nonsense"], capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(broken.returncode, 3, broken.stdout + broken.stderr)

    def test_checkpoint_measures_stall_and_speed_beside_the_plain_disk(self):
        for ranks in (None, 2):
            with self.subTest(ranks=ranks):
                found, result = self.measure("--pairs=3", *TINY, ranks=ranks)
                figures = {figure["name"].strip(): figure for figure in found["figures"]}
                self.assertEqual(figures["stall of training at one save a minute"]["at_most"], 2)
                self.assertEqual(figures["save / plain write"]["at_least"], 80)
                for name, figure in figures.items():
                    self.assertLessEqual(figure["low"], figure["median"], name)
                    self.assertLessEqual(figure["median"], figure["high"], name)
                    self.assertIn(name, result.stdout)
                for name in ("held in save()", "a step alone", "save", "plain write and fsync", "load, not from memory"):
                    self.assertGreater(figures[name]["low"], 0, name)
                self.assertEqual(found["setting"]["ranks"], str(ranks or 1))
                missed = any(figure.get("missed") for figure in found["figures"])
                self.assertEqual(result.returncode, int(missed))

    def test_a_state_beyond_what_a_save_has_in_flight_is_read_back(self):
        """More than 64 MiB for each rank: blocks are waited for and leave memory. Loading checks every digest."""
        for ranks in (None, 2):
            found, _ = self.measure("--pairs=1", "--model.layers=4", "--model.dim=512", "--model.heads=8", "--data.length=8",
                                    "--device.threads=1", ranks=ranks)
            self.assertRegex(found["setting"]["state"], r"^1\d\d\.\d MB ")

    def test_comparisons_say_what_they_lack(self):
        for script, message in (("compare_pytorch.sh", "has no PyTorch; install it"), ("compare_builds.sh", "OLD and NEW are memring programs")):
            result = subprocess.run([runs.LAUNCH / script], capture_output=True, text=True, timeout=30, check=False,
                                    env={**os.environ, "PYTHON": "false"})
            self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
            self.assertIn(message, result.stderr)

    def test_a_second_benchmark_in_the_same_folder_is_refused(self):
        first = self.start("bench", "checkpoint", f"--run.dir={self.folder}", "--pairs=100000", *TINY)
        while not (self.folder / "memring-bench" / "checkpoints").exists():
            self.assertIsNone(first.poll(), self.output(first))
            time.sleep(0.01)
        result = runs.run("bench", "checkpoint", f"--run.dir={self.folder}", *TINY)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(str(first.pid), result.stderr)
        self.assertIsNone(first.poll(), self.output(first))
        first.kill()
        first.wait()
        self.measure("--pairs=1", *TINY)  # what the killed one left does not disturb, and goes

    def test_budgets_are_kept_with_a_gibibyte_of_state(self):
        if not runs.amount(False, True):
            self.skipTest("a minute or more: in the long form")
        found, _ = self.measure(codes=(0,), timeout=800)
        figures = {figure["name"].strip(): figure for figure in found["figures"]}
        for row, name, budget in (("P1", "stall of training at one save a minute", "at most 2 %"),
                                  ("P2", "save / plain write", "at least 80 %")):
            figure = figures[name]
            runs.record_fault(row, f"{name}: {found['setting']['state']}, {found['setting']['machine']}",
                              int(found["setting"]["pairs"]),
                              f"{figure['median']:.3g} % ({figure['low']:.3g} .. {figure['high']:.3g}), {budget}")


if __name__ == "__main__":
    runs.main()
