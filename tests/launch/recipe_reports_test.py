#!/usr/bin/env python3
"""The reports on recipes (tasks_report.py, extend_report.py, remote_fact_report.py) tell what the files of runs hold.

Usage: recipe_reports_test.py LAUNCH [TEST...]: LAUNCH is the folder of the scripts.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

LAUNCH = pathlib.Path(sys.argv[1])
CONFIG = """[model]
layers = 3
dim = 64
heads = 4
kv_heads = 0
head_dim = 0
[memory]
kind = {kind}
tokens = 4
nu = 3
key_dim = 16
[segment]
length = 16
[data]
kind = memorize
[task]
values = 16
symbols = 64
"""


class RecipeReports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="memring-reports-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_of(self, name, losses=(), kind="uio", accuracy=1.0):
        """A run with these losses that answers at 6 segments."""
        run = self.folder / name
        run.mkdir()
        row = {"segments": 6, "segment_tokens": 16, "accuracy": accuracy, "low": accuracy - 0.25, "high": accuracy}
        records = [{"kind": "step", "step": step, "loss": loss, "tokens_per_s": 1000 * step}
                   for step, loss in enumerate(losses, 1)] + [{"kind": "run_end", "step": len(losses), "seconds": 90}]
        (run / "accuracy.json").write_text(json.dumps({"rows": [row]}), "utf-8")
        (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        (run / "config.ini").write_text(CONFIG.format(kind=kind), "utf-8")

    def lines(self, script, name):
        """Of the table that the script leaves, which is what it prints."""
        command = [sys.executable, LAUNCH / script, self.folder]
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
        text = (self.folder / f"{name}.md").read_text("utf-8")
        self.assertIn(text, printed.stdout)
        return text.splitlines()

    def test_remote_fact_tells_when_a_gradient_learned_and_what_a_memory_carries(self):
        self.run_of("uio_full-1", [2.0] * 5 + [0.01] * 15)  # the mean of ten is below 0.05 from step 15 on
        self.run_of("uio_full-2", [0.01] * 20, accuracy=0.5)
        self.run_of("untrained-1", [2.0])
        self.run_of("chain_window_3-1", [2.0] * 30)
        self.run_of("chain_cut_0.5-1", [2.0] * 30)
        self.run_of("chain_cut_0.5-2", [0.01] * 30)
        for kind in ("rmt", "armt"):
            self.run_of(f"{kind}_all-1", [2.0] * 20, kind)
        lines = self.lines("remote_fact_report.py", "remote_fact")
        for line in ("| none: untrained |  | 100.0 |  |", "| full | 12 (10-15) | 75.0 (50.0-100.0) | 19,000 |",
                     "| uio, base frozen, encoder learns | 12 (10-15) | 75.0 (50.0-100.0) | 384 | 384 | 19,000 |",
                     "| rmt, all weights | 1 of 1 not in 20 | 100.0 | 13 | 7 | 19,000 |",
                     "| armt, all weights | 1 of 1 not in 20 | 100.0 | 936 | 520 | 19,000 |",
                     "| unbiased, cut 0.5 | 10, 1 of 2 not in 30 | 100.0 | 28,000 |",
                     "| window of 3 | 1 of 1 not in 30 | 100.0 | 28,000 |"):
            self.assertIn(line, lines)

    def test_tasks_are_told_seed_by_seed_and_by_the_worst(self):
        self.run_of("memorize-1", [2.0])
        self.run_of("memorize-2", [2.0], accuracy=0.5)
        lines = self.lines("tasks_report.py", "tasks")
        for line in ("| 2 | 1 | 1.5 min | 50.0 (25-50) |", "| **worst** |  |  | 50.0 |", "| median |  |  | 75.0 |"):
            self.assertIn(line, lines)

    def test_windows_are_told_by_method_as_the_mean_over_seeds(self):
        for seed, found in ((1, 0.5), (2, 1.0)):
            run = self.folder / f"passkey-yarn-{seed}"
            run.mkdir()
            rows = [{"tokens": 128, "depth": depth, "exact_match": found} for depth in (0, 0.5, 1)]
            (run / "eval.json").write_text(json.dumps({"rows": rows}), "utf-8")
        self.assertIn("| yarn | 75 (50-100) |", self.lines("extend_report.py", "extend"))

    def test_a_folder_without_runs_is_one_line_that_says_who_leaves_them(self):
        for script, who in (("tasks_report.py", "memring eval"), ("extend_report.py", "launch/extend.sh"),
                            ("remote_fact_report.py", "launch/remote_fact.sh")):
            found = subprocess.run([sys.executable, LAUNCH / script, self.folder], capture_output=True, text=True)
            self.assertEqual((found.returncode, found.stdout, found.stderr.count("\n")), (1, "", 1), script)
            self.assertIn(who, found.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
