"""memring bench: what it prints and writes is whole, it leaves nothing behind, and (long form) its budgets are kept.

SPDX-License-Identifier: Apache-2.0
"""
import json
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
        self.assertRegex(self.succeed("bench").stdout, r"(?m)^checkpoint +\S")

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
