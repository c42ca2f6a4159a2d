#!/usr/bin/env python3
"""launch/gpu_check.sh on fibers: each step leaves its rows, what is wrong stands first, what ends badly takes nothing with it.

Usage: gpu_check_test.py SCRIPT PROGRAMS [TEST...]: PROGRAMS is the folder of a build's programs.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

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

    def test_a_question_without_its_sizes_is_no_figure(self):
        questions = ["copy", "copy x", "copy 0", "product", "forward 1 64", "backward 1 64 -3", "copies 4096", ""]
        run = subprocess.run([f"{PROGRAMS}/device_speed_fiber"], input="\n".join(questions) + "\n", capture_output=True, text=True,
                             check=False)
        self.assertEqual(run.stdout.splitlines(), [f'none "{question}" is no question with sizes of 1 or more' for question in questions])

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
        self.assertIn("there is no step 1 2; there are", self.check("--only", "1 2", *other, code=2).stderr)
        self.assertIn("--only needs a value", self.check("--only", code=2).stderr)
        self.assertIn("--minutes 1000 is no whole number from 1 to 999", self.check("--minutes", "1000", *other, code=2).stderr)
        self.assertIn("out/report.md cannot be written; give --out", self.check("--out", self.out / "report.md", code=2).stderr)
        self.write_program("python", "#!/bin/sh\nexit 1\n")
        with unittest.mock.patch.dict(os.environ, PYTHON=f"{self.folder}/python"):
            self.assertIn("python is no Python of version 3.8 or later", self.check(*other, code=2).stderr)
        self.assertFalse((self.folder / "other").exists())

    def test_a_folder_without_the_program_fails(self):
        (self.folder / "empty").mkdir()
        self.check("--programs", self.folder / "empty", code=1)
        results = self.results()
        self.assertEqual((results["memring"], results["all other steps"]), ("fail", "skipped"))

    def test_what_a_step_says_when_it_breaks_is_in_the_report(self):
        self.write_program("device_tests", "#!/nowhere\n")
        self.check("--only", "2", "--programs", self.folder, code=1)
        self.assertRegex((self.out / "report.md").read_text("utf-8"),
                         r"fail\*\* 2 instructions: ended with 1, .*/2-step\.log says why: FileNotFoundError: .*device_tests")

    def test_a_signal_ends_what_is_running_and_the_report_says_so(self):
        pid = self.folder / "pid"
        self.write_program("device_tests", f"#!/bin/sh\necho $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 60\n")
        for name in ("INT", "TERM", "HUP"):
            out, number = self.folder / name, getattr(signal, f"SIG{name}")
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_DFL))  # shells ignore some for what is behind &
            with subprocess.Popen([SCRIPT, "--dry", "--only", "2", "--programs", self.folder, "--out", out],
                                  stdout=subprocess.PIPE) as check:
                while not pid.exists():
                    self.assertIsNone(check.poll())
                    time.sleep(0.01)
                check.send_signal(number)
                self.assertEqual(check.wait(30), 128 + number)
            row, = json.loads((out / "report.json").read_text("utf-8"))["rows"]
            self.assertEqual((row["what"], row["result"]), ("instructions", "fail"))
            self.assertIn(f"the check was ended by SIG{name}", row["detail"])
            self.assertFalse(self.runs(int(pid.read_text("utf-8"))), name)
            pid.unlink()

    @staticmethod
    def runs(pid):
        """Whether it does; one that was killed and that nobody has asked for does not."""
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_a_reader_who_leaves_costs_nothing(self):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as nobody:
            run = subprocess.run([SCRIPT, "--dry", "--programs", self.folder, "--only", "6", "--out", self.out], stdout=nobody,
                                 stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual((run.returncode, self.results()), (0, {"compute-sanitizer": "skipped"}), run.stderr)

    def test_a_full_disk_is_told_and_keeps_what_was_found(self):
        self.check("--only", "6", "--programs", self.folder)
        (self.out / "report.part").mkdir()
        run = subprocess.run([sys.executable, pathlib.Path(SCRIPT).with_name("gpu_check_report.py"), self.out, "6", "more", "pass"],
                             capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"^launch: .*report\.json stays as it was, since it cannot be written: .*\. Make room, or")
        self.assertEqual(self.results(), {"compute-sanitizer": "skipped"})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
