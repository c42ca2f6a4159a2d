"""Memory tasks: the recurrence learns one, its curriculum resumes exactly, and no mesh changes what it computes.

SPDX-License-Identifier: Apache-2.0
"""
import json
import shutil
import subprocess
import sys

import runs

TASK = """
[run]
seed = 3
[device]
dtype = fp32
threads = 1
[model]
layers = 2
dim = 64
heads = 4
vocab = 64
[memory]
kind = rmt
tokens = 4
mask = block
[segment]
length = 16
[data]
kind = memorize
batch = 32
[task]
random_fact = 0.5
[curriculum]
stages = 1 2 3
shorter = 0.3
promote_loss = 0.05
min_steps = 60
[optimizer]
lr = 2e-3
schedule = constant
weight_decay = 1e-3
warmup = 10
[log]
every = 50
"""


class Tasks(runs.RunTest):
    text_size = 2000

    def setUp(self):
        super().setUp()
        self.config.write_text(TASK)

    def train_task(self, name, ranks=None, **keys):
        directory = self.folder / name
        overrides = [f"--{key.replace('__', '.')}={value}" for key, value in keys.items()]
        self.succeed("train", self.config, f"--run.dir={directory}", *overrides, ranks=ranks)
        return directory

    def evaluate(self, directory, *arguments, **how):
        path = self.folder / "eval.json"
        text = self.succeed("eval", directory, "--json", path, *arguments, timeout=200, **how).stdout
        return json.loads(path.read_text()), text

    def test_a_memory_is_learned_and_reaches_beyond_its_training(self):
        """A fact in the first segment; with the memory reset at each segment nobody can do better than one in six."""
        for kind, keys in (("rmt", {"memory__mask": "block"}), ("armt", {"memory__mask": "causal", "memory__key_dim": 16})):
            with self.subTest(kind=kind):
                self.learn(kind, **keys)

    def learn(self, kind, **keys):
        directory = self.train_task(kind, run__steps=700, memory__kind=kind, **keys)
        self.assertEqual([r["stage"] for r in runs.metrics(directory, "stage")], [2, 3])
        self.assertEqual([r["stage"] for r in runs.metrics(directory, "learned")], [3])
        end = runs.metrics(directory, "run_end")[-1]
        self.assertEqual((end["stage"], end["stages"], end["learned"]), (3, 3, True))
        self.assertEqual(runs.metrics(directory, "warning"), [])
        found, text = self.evaluate(directory, "--eval.segments=1 3 4", "--eval.sequences=200")
        self.assertNotIn("unfinished", found)
        for row in found["rows"]:
            with self.subTest(segments=row["segments"]):
                self.assertEqual(row["answers"], 200)
                self.assertEqual(row["tokens"], 16 * row["segments"])
                self.assertGreater(row["accuracy"], 0.95)
                self.assertLessEqual(row["low"], row["accuracy"])
                self.assertGreater(row["high"], 0.97)
                if row["segments"] > 1:
                    self.assertLess(row["reset"]["accuracy"], 0.3)
                self.assertIn(f"{row['accuracy']:.4f}", text)

    def test_the_curriculum_resumes_exactly(self):
        """Stages end by loss and by count; stops fall into the middle of a stage and onto the border of two."""
        keys = {"curriculum__min_steps": 4, "curriculum__max_steps": 9, "curriculum__promote_loss": 2.95}
        whole = self.train_task("whole", run__steps=40, **keys)
        for step in (3, 9, 14, 25, 40):
            parts = self.train_task("parts", run__steps=step, optimizer__schedule="constant", optimizer__decay=0, **keys)
        whole_constant = self.train_task("constant", run__steps=40, optimizer__decay=0, **keys)
        self.assert_same_losses(whole_constant, parts)
        self.assert_same_tensors(runs.checkpoints(whole_constant)[-1], runs.checkpoints(parts)[-1])
        for directory in (whole, parts):
            self.assertEqual([r["stage"] for r in runs.metrics(directory, "stage")], [2, 3])
        self.assertEqual(sorted({r["segments"] for r in runs.metrics(parts, "step")}), [1, 2, 3])

    def test_a_run_says_that_its_curriculum_was_not_finished(self):
        directory = self.folder / "plateau"
        done = self.succeed("train", self.config, f"--run.dir={directory}", "--run.steps=4", "--curriculum.min_steps=1",
                            "--curriculum.promote_loss=0.001")
        self.assertIn("warning: the curriculum is not finished: stage 1 of 3 (1 segment of 16 tokens)", done.stderr)
        end = runs.metrics(directory, "run_end")[-1]
        self.assertEqual((end["stage"], end["stages"], end["learned"], end["exit_code"]), (1, 3, False, 0))
        path = directory / "accuracy.json"
        told = self.succeed("eval", directory, "--eval.segments=1", "--eval.sequences=8", "--json", path,
                            "--eval.control=false").stderr
        result = json.loads(path.read_text())
        self.assertIn("stage 1 of 3", result["unfinished"])
        self.assertNotIn("reset", result["rows"][0])
        self.assertIn("warning: the curriculum is not finished: stage 1 of 3", told)
        self.report_judges_by_the_worst(directory)

    def report_judges_by_the_worst(self, directory):
        """Three copies of one run, of which one answers a quarter of the questions."""
        result = json.loads((directory / "accuracy.json").read_text())
        runs_of = self.folder / "judged"
        for seed, accuracy in ((7, 1), (8, 0.25), (9, 1)):
            shutil.copytree(directory, runs_of / f"memorize-{seed}")
            result["rows"][0]["accuracy"] = accuracy
            (runs_of / f"memorize-{seed}" / "accuracy.json").write_text(json.dumps(result))
        program = runs.LAUNCH / "tasks_report.py"
        table = subprocess.run([sys.executable, program, runs_of], check=True, capture_output=True, text=True).stdout
        self.assertIn("| **worst** |  |  | 25.0 |", table)
        self.assertIn("| median |  |  | 100.0 |", table)
        self.assertIn("| 8 (curriculum not finished) |", table)

    def test_a_run_ends_after_its_curriculum(self):
        """Some steps after the last stage is learned, whether or not it was stopped on the way; run.steps is the most."""
        keys = {"curriculum__min_steps": 4, "curriculum__promote_loss": 9, "curriculum__after": 6}
        whole = self.train_task("whole", run__steps=100, optimizer__decay=0, **keys)
        for step in (7, 13, 15, 100):
            parts = self.train_task("parts", run__steps=step, optimizer__decay=0, **keys)
        learned = runs.metrics(whole, "learned")[0]["step"]
        for directory in (whole, parts):
            end = runs.metrics(directory, "run_end")[-1]
            self.assertEqual((end["reason"], end["step"]), ("curriculum.after is over", learned + 6))
        rates = [r["lr"] for r in runs.metrics(whole, "step")][learned:]
        self.assertEqual(rates, [r["lr"] for r in runs.metrics(parts, "step")][learned:])
        for rate, left in zip(rates, range(6, 0, -1)):
            self.assertAlmostEqual(rate, 2e-3 * left / 6)
        self.assert_same_losses(whole, parts)
        self.assert_same_tensors(runs.checkpoints(whole)[-1], runs.checkpoints(parts)[-1])

    def test_any_mesh_trains_and_evaluates_alike(self):
        keys = {"run__steps": 12, "curriculum__min_steps": 2, "curriculum__max_steps": 4}
        one = self.train_task("one", **keys)
        rows, _ = self.evaluate(one, "--eval.segments=3 7x20", "--eval.sequences=50")
        for ranks, mesh in ((2, {"mesh__segment": 2}), (3, {"mesh__data": 3}), (4, {"mesh__segment": 2, "mesh__token": 2})):
            with self.subTest(ranks=ranks, mesh=mesh):
                other = self.train_task(f"mesh-{ranks}", ranks=ranks, **mesh, **keys)
                for step, loss in runs.losses(one).items():
                    self.assertAlmostEqual(loss, runs.losses(other)[step], delta=1e-4 * loss, msg=f"step {step}")
                mesh_arguments = [f"--{key.replace('__', '.')}={value}" for key, value in mesh.items()]
                again, _ = self.evaluate(one, "--eval.segments=3 7x20", "--eval.sequences=50", *mesh_arguments, ranks=ranks)
                for row, same in zip(rows["rows"], again["rows"]):
                    self.assertEqual((row["right"], row["answers"]), (same["right"], same["answers"]))
                    self.assertAlmostEqual(row["loss"], same["loss"], delta=1e-4 * row["loss"])

    def test_length_costs_no_memory(self):
        directory = self.train_task("run", run__steps=1)
        peaks = [self.evaluate(directory, f"--eval.segments={n}", "--eval.sequences=16")[0]["peak_memory_mib"]
                 for n in (4, 4096)]
        self.assertLess(peaks[1], peaks[0] + 8)

    def test_every_kind_trains(self):
        for kind, more in (("detect", {}), ("reasoning", {}), ("copy", {"task__symbols": 10}),
                           ("associative", {"curriculum__stages": "2 3", "task__symbols": 10}),
                           ("passkey", {"task__digits": 3}),
                           ("memorize", {"data__path": self.tokens, "model__vocab": 300})):
            with self.subTest(kind=kind):
                directory = self.train_task(kind, run__steps=3, data__kind=kind, **more)
                found, _ = self.evaluate(directory, "--eval.sequences=8")
                self.assertEqual(found["kind"], kind)
                self.assertEqual(found["rows"][0]["answers"], 8 * {"copy": 2 * (3 * 16 // 3), "passkey": 3}.get(kind, 1))

    def train_passkey(self, name, **keys):
        return self.train_task(name, **{"data__kind": "passkey", "curriculum__stages": "", "segment__length": 0,
                                        "memory__kind": "none", "data__length": 32, "task__digits": 1, **keys})

    def test_frequencies_of_the_longest_row_are_told(self):
        directory = self.train_passkey("stretched", run__steps=1, rope__scaling="dynamic", rope__factor=4)
        for lengths, warns in (("24,64", True), ("64", False)):
            told = self.succeed("eval", directory, f"--eval.lengths={lengths}", "--eval.sequences=2").stderr
            self.assertEqual("every row has the frequencies of the longest segment, of 64 tokens" in told, warns, told)

    def test_a_passkey_is_learned_and_told_by_depth_and_length(self):
        directory = self.train_passkey("passkey", run__steps=400, optimizer__lr=3e-3)
        found, text = self.evaluate(directory, "--eval.depths=0,0.5,1", "--eval.lengths=24,32,512", "--eval.sequences=100")
        self.assertEqual([(row["tokens"], row["depth"]) for row in found["rows"]],
                         [(length, depth) for length in (24, 32, 512) for depth in (0, 0.5, 1)])
        for row in found["rows"][3:6]:
            self.assertGreater(row["exact_match"], 0.9, row)
        for row in found["rows"]:
            self.assertEqual((row["answers"], row["segments"]), (100, 1))
            self.assertLessEqual(row["exact_low"], row["exact_match"])
            self.assertGreaterEqual(row["exact_high"], row["exact_match"])
        map_of = text.split("exact match in percent")[1]
        for length, depth in (("24", "0"), ("512", "0.5")):
            self.assertIn(length, map_of)
            self.assertIn(f"\n{depth:>7} ", map_of)
        for row in found["rows"]:
            self.assertIn(f"{100 * row['exact_match']:.1f}", map_of)

    def test_depths_cost_no_memory_and_any_mesh_counts_alike(self):
        directory = self.train_passkey("passkey", run__steps=3, task__digits=5)
        depths = ",".join(f"{i / 20:g}" for i in range(21))
        one, _ = self.evaluate(directory, "--eval.depths=0.5", "--eval.lengths=64", "--eval.sequences=40")
        many, _ = self.evaluate(directory, f"--eval.depths={depths}", "--eval.lengths=64", "--eval.sequences=40")
        self.assertLess(many["peak_memory_mib"], one["peak_memory_mib"] + 4)
        self.assertEqual(many["rows"][10]["right"], one["rows"][0]["right"])
        for mesh in ("--mesh.token=2", "--mesh.data=2"):
            other, _ = self.evaluate(directory, "--eval.depths=0.5", "--eval.lengths=64", "--eval.sequences=40", mesh, ranks=2)
            for key in ("right", "answers", "exact"):
                self.assertEqual(other["rows"][0][key], one["rows"][0][key], mesh)

    def test_depths_are_for_passkey(self):
        directory = self.train_task("detect", run__steps=1, data__kind="detect")
        refused = self.succeed("eval", directory, "--eval.depths=0,1", code=2).stderr
        self.assertIn("eval.depths is for data.kind = passkey; this is data.kind = detect", refused)


if __name__ == "__main__":
    runs.main()
