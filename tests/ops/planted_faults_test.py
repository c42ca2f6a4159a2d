#!/usr/bin/env python3
"""Each fault that is planted in a kernel is found on fibers: by what the kernel computes, by an error, or by a sanitizer.

Usage: planted_faults_test.py PROGRAM ROOT SANITIZER [unittest's arguments]
SANITIZER is address, thread, or none.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import subprocess
import sys
import unittest

PROGRAM, SANITIZER = sys.argv[1], sys.argv[3]
SOURCES = [pathlib.Path(sys.argv[2], name) for name in ("tests/ops/planted_faults.cpp", "tests/device/hopper_product.h")]

# What is said of a fault in each build: words, and comments of the lines that are named. Where a build says nothing of it,
# another does.
EVERY = ("none", "address", "thread")
NAN = {"none": ["NaN"], "address": ["NaN"]}
FOUND = {
    "none": dict.fromkeys(EVERY, ["right"]),
    "meeting_before_reading_is_missing": {**NAN, "thread": ["data race", "// begins", "// reads"]},
    "meeting_behind_reading_is_missing": {**NAN, "thread": ["data race", "// copies", "// reads"]},
    "meeting_before_loading_is_missing": {"thread": ["data race", "// writes what is loaded", "// loads"]},
    "waits_for_the_group_before": {**NAN, "thread": ["NaN"]},
    "sums_of_half_a_warp": dict.fromkeys(EVERY, ["nobody goes on in block", "// half", "have left"]),
    "lanes_part_at_a_shuffle": dict.fromkeys(EVERY, ["meets others at", "// even", "// odd"]),
    "tail_reads_one_too_many": {"none": ["NaN"], "address": ["use-after-poison", "// arrives"], "thread": ["NaN"]},
    "tail_writes_one_too_many": {"address": ["use-after-poison", "// writes too much"],
                                 "thread": ["data race", "// writes too much"]},
    "blocks_share_a_number": {"none": ["NaN"], "address": ["NaN"], "thread": ["data race", "// writes"]},
    "producer_does_not_wait_for_an_empty_stage": dict.fromkeys(EVERY, ["arrives at a barrier that waits for bytes alone",
                                                                       "// expects"]),
}


def place_of(comment):
    """The file and line that ends with this comment."""
    places = [f"{source.name}:{number}" for source in SOURCES
              for number, line in enumerate(source.read_text("utf-8").splitlines(), 1) if line.endswith(comment)]
    assert len(places) == 1, f"{comment} ends the lines {places}"
    return places[0]


class PlantedFaults(unittest.TestCase):
    def test_each_is_found(self):
        environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1:atexit_sleep_ms=0"}
        for fault, builds in FOUND.items():
            if SANITIZER not in builds:
                continue
            with self.subTest(fault=fault):
                result = subprocess.run([PROGRAM, fault], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=environment, timeout=60, check=False)
                for word in builds[SANITIZER]:
                    self.assertIn(place_of(word) if word.startswith("//") else word, result.stdout)

    def test_there_is_nothing_else_planted(self):
        usage = subprocess.run([PROGRAM], stderr=subprocess.PIPE, text=True, check=False).stderr
        self.assertEqual(sorted(usage.split()[3:]), sorted(FOUND))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
