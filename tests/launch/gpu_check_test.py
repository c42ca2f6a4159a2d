#!/usr/bin/env python3
"""launch/gpu_check.sh on fibers: each step leaves its rows, what is wrong stands first, what ends badly takes nothing with it.

Usage: gpu_check_test.py SCRIPT PROGRAMS [TEST...]: PROGRAMS is the folder of a build's programs.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT, PROGRAMS = sys.argv[1:3]
# A program of GoogleTest in sh: what it lists, and what it does of what it is asked for.
TESTS = """#!/bin/sh
case $1 in
  --gtest_list_tests) printf '%s\\n' {listed} ;;
{cases}
esac
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="memring-gpu-check-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def check(self, *arguments, code=0):
        run = subprocess.run([SCRIPT, "--dry", "--out", self.out, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, code, run.stdout + run.stderr)
        return run

    def rows(self):
        return json.loads((self.out / "report.json").read_text("utf-8"))["rows"]

    def results(self):
        return {row["what"]: row["result"] for row in self.rows()}

    def write_program(self, name, text):
        path = self.folder / name
        path.write_text(text, "utf-8")
        path.chmod(0o755)

    def googletest(self, name, listed, cases):
        self.write_program(name, TESTS.format(listed=" ".join(f"'{line}'" for line in listed),
                                        cases="\n".join(f"  --gtest_filter={test}) {does} ;;" for test, does in cases.items())))

    def test_every_step_leaves_its_rows(self):
        self.check("--programs", PROGRAMS)
        self.assertEqual({row["step"] for row in self.rows()}, set(range(1, 11)))
        results = self.results()
        for what in ("memring doctor", "RmsNorm", "fp64 rmt_full", "bf16 rmt_full"):
            self.assertEqual(results[what], "pass", what)
        self.assertIn("the same bits twice", next(row["detail"] for row in self.rows() if row["what"] == "RmsNorm"))
        self.assertEqual([what for what, result in results.items() if result == "figure" and what.endswith(", memring")],
                         ["copy of 64 KiB, memring", "product 32 x 32 x 32, bf16, memring",
                          "attention forward, 1 heads of 64, 130 rows, causal, bf16, memring",
                          "attention backward, 1 heads of 64, 130 rows, causal, bf16, memring"])
        self.assertNotIn("To mend", (self.out / "report.md").read_text("utf-8"))

    def test_a_crash_a_failure_and_a_skip_are_told_by_name_and_others_pass(self):
        passed = "echo '[       OK ] {} (1 ms)'"
        self.googletest("device_tests", ["Good.", "  A", "Crash.", "  A", "  B", "Bad.", "  A", "Idle.", "  A"],
                   {"Good.A": passed.format("Good.A"), "Crash.A:Crash.B": passed.format("Crash.A") + "; kill -SEGV $$",
                    "Bad.A": "echo '[  FAILED  ] Bad.A (1 ms)'; exit 1", "Idle.A": "echo '[  SKIPPED ] Idle.A (0 ms)'"})
        self.check("--only", "2", "--programs", self.folder, code=1)
        self.assertEqual(self.results(), {"Good": "pass", "Crash": "fail", "Bad": "fail", "Idle": "skipped"})
        report = (self.out / "report.md").read_text("utf-8")
        for text in ("Crash: B did not end; ended by signal 11", "Bad: A failed; ended with 1",
                     "| skipped | 1 of 1 tests, logs/ says why: A |",
                     f"      {self.folder}/device_tests --gtest_filter=Crash.A:Crash.B\n"):
            self.assertIn(text, report)
        self.assertLess(report.index("**fail** 2 Crash"), report.index("| 2 | Good | pass | 1 tests |"))

    def test_other_bits_in_a_second_run_fail(self):
        bits = "echo '[       OK ] {0}.A (1 ms)'; echo \"[     BITS ] {0}.A {1}\""
        self.googletest("ops_fiber_tests", ["RmsNorm.", "  A", "Elementwise.", "  A"],
                   {"RmsNorm.A": bits.format("RmsNorm", "a$MEMRING_TWIN_SEED"), "Elementwise.A": bits.format("Elementwise", "a")})
        self.check("--only", "3", "--programs", self.folder, code=1)
        self.assertEqual(self.results(), {"RmsNorm": "fail", "Elementwise": "pass"})
        self.assertIn("fail** 3 RmsNorm: other bits when run again: RmsNorm.A", (self.out / "report.md").read_text("utf-8"))

    def test_a_question_that_ends_the_program_costs_only_its_answer(self):
        self.write_program("device_speed_fiber", "#!/bin/sh\nwhile read -r what size; do\n"
                     "if test $what = product; then echo 'none the device is gone'; exit 1; fi; echo 1e-6 somebody; done\n")
        self.check("--only", "7", "--programs", self.folder, code=1)
        results = self.results()
        self.assertEqual(results["copy of 64 KiB, memring"], "figure")
        self.assertEqual(results["product 32 x 32 x 32, bf16, memring"], "fail")
        self.assertIn("the device is gone", (self.out / "report.md").read_text("utf-8"))

    def test_without_a_usable_gpu_nothing_else_is_tried(self):
        self.write_program("memring_fiber", "#!/bin/sh\necho 'device     kind = auto: cpu (no usable GPU: no driver)'\n")
        self.check("--programs", self.folder, code=1)
        results = self.results()
        self.assertEqual((results["memring doctor"], results["all other steps"]), ("fail", "skipped"))
        self.assertEqual({row["step"] for row in self.rows() if row["result"] != "later"}, {1})

    def test_a_step_for_which_no_time_is_left_says_so(self):
        self.check("--only", "8", "--minutes", "1", "--programs", self.folder)
        row, = self.rows()
        self.assertEqual((row["what"], row["result"]), ("attention", "skipped"))
        self.assertRegex(row["detail"], r"^\d+ s are left, and it may take 120$")

    def test_an_earlier_report_stays_and_mistakes_are_told(self):
        self.check("--only", "6", "--programs", self.folder)
        self.assertIn("holds a report", self.check("--programs", self.folder, code=2).stderr)
        other = ("--out", self.folder / "other")
        self.assertIn("there is no step 11; there are: 1 2 3", self.check("--only", "11", *other, code=2).stderr)
        self.assertIn("nowhere is not there; build first", self.check("--programs", "nowhere", *other, code=2).stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
