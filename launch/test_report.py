#!/usr/bin/env python3
"""What ctest does not say of tests that passed: which of their cases were skipped and why, and where the time went.

Usage: test_report.py JUNIT-FILE... | test_report.py --self-test
The files are those of ctest --output-junit with the tests' whole output; a case is one of GoogleTest or of Python's unittest.
SPDX-License-Identifier: Apache-2.0
"""
import re
import sys
import xml.etree.ElementTree

COLOUR = re.compile(r"(\x1b|\[NON-XML-CHAR-0x1B\])\[[0-9;]*m")
# GoogleTest tells the reason first, below "FILE:LINE: Skipped", and names the case once more in its summary, without a time.
GTEST = re.compile(r"^\S+:\d+: Skipped\n(?P<reason>.*?)\n+\[  SKIPPED \] (?P<case>\S+) \(\d+ ms\)$|"
                   r"^\[  SKIPPED \] (?P<silent>\S+) \(\d+ ms\)$", re.MULTILINE | re.DOTALL)
UNITTEST = re.compile(r"^(?P<case>\w+ \([\w.]+\))(?:\n[^\n]*)? \.\.\. (?:.*?)skipped (?P<quote>['\"])(?P<reason>.*?)(?P=quote)$",
                      re.MULTILINE)
SLOWEST = 10


def skipped_cases(output):
    """(case, reason) of each case that a test skipped."""
    output = COLOUR.sub("", output)
    cases = [(match["case"] or match["silent"], match["reason"] or "") for match in GTEST.finditer(output)]
    return cases + [(match["case"], match["reason"]) for match in UNITTEST.finditer(output)]


def read(text):
    """([(test, seconds)], [(test, case, reason)]) of a JUnit file."""
    times, skipped = [], []
    for test in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        name = test.get("name")
        if test.get("status") in ("run", "fail"):
            times.append((name, float(test.get("time"))))
            skipped += [(name, case, reason) for case, reason in skipped_cases(test.findtext("system-out") or "")]
        else:  # ctest's own: disabled, or its program is missing
            skipped.append((name, "all of it", test.get("status")))
    return times, skipped


def report(files):
    times, skipped = [], []
    for text in files:
        more_times, more_skipped = read(text)
        times += more_times
        skipped += more_skipped
    times.sort(key=lambda entry: -entry[1])
    lines = []
    if len(times) > 1:
        lines.append(f"{len(times)} tests, {sum(seconds for _, seconds in times):.0f} s; the longest: "
                     + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in times[:SLOWEST]))
    lines.append(f"{len(skipped) or 'no'} test case{'' if len(skipped) == 1 else 's'} skipped" + (":" if skipped else ""))
    lines += [f"  {test}: {case}: {' '.join(reason.split()) or 'no reason is given'}" for test, case, reason in skipped]
    return "\n".join(lines)


def self_test():
    gtest = ("[NON-XML-CHAR-0x1B][0;32m[ RUN      ] [NON-XML-CHAR-0x1B][mA.B\n../a_test.cpp:230: Skipped\nneeds\n two ranks\n\n"
             "[NON-XML-CHAR-0x1B][0;32m[  SKIPPED ] [NON-XML-CHAR-0x1B][mA.B (0 ms)\n[       OK ] A.C (3 ms)\n"
             "[  SKIPPED ] A.D (1 ms)\n[  SKIPPED ] 2 tests, listed below:\n[  SKIPPED ] A.B\n[  SKIPPED ] A.D\n")
    unittest = ("test_a (__main__.Case.test_a) ... ok\ntest_b (__main__.Case) ... skipped 'no disk'\n"
                "test_c (__main__.Case.test_c)\nIts first line ... skipped \"it's long\"\n"
                "setUpClass (__main__.Other) ... skipped 'no MPI'\nOK (skipped=3)\n")
    assert skipped_cases(gtest) == [("A.B", "needs\n two ranks"), ("A.D", "")], skipped_cases(gtest)
    assert skipped_cases(unittest) == [("test_b (__main__.Case)", "no disk"), ("test_c (__main__.Case.test_c)", "it's long"),
                                       ("setUpClass (__main__.Other)", "no MPI")], skipped_cases(unittest)
    junit = ('<testsuite><testcase name="unit" time="2.5" status="run"><system-out>' + gtest + "</system-out></testcase>"
             '<testcase name="e2e" time="70" status="fail"><failure/><system-out>' + unittest + "</system-out></testcase>"
             '<testcase name="gone" time="0" status="notrun"/></testsuite>')
    text = report([junit])
    assert text.startswith("2 tests, 72 s; the longest: e2e 70 s, unit 2 s\n6 test cases skipped:"), text
    assert "  unit: A.B: needs two ranks\n" in text and "  gone: all of it: notrun" in text, text
    assert report(["<testsuite/>"]) == "no test cases skipped"


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    if not arguments:
        print(__doc__.split("\n")[2], file=sys.stderr)
        return 2
    texts = []
    for path in arguments:
        with open(path, encoding="utf-8", errors="replace") as file:
            texts.append(file.read())
    print(report(texts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
