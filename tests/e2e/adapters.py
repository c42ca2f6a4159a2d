"""What the tests of adapters share.

SPDX-License-Identifier: Apache-2.0
"""
import json

import runs

LORA = {"lora__rank": 3, "lora__alpha": 6, "lora__targets": "all", "model__train": "lora,memory"}


class AdapterTest(runs.RunTest):
    """A base that has been trained, and the keys of an adapter on it."""

    def setUp(self):
        super().setUp()
        self.base = self.folder / "base"
        self.train(self.base, run__steps=8)
        self.adapter = self.folder / "adapter"
        self.keys = {**LORA, "model__from": self.base, "run__steps": 6, "optimizer__schedule": "constant",
                     "optimizer__decay": 0}

    def evaluate(self, run, *more, code=0):
        result = self.succeed("eval", run, f"--data.path={self.tokens}", "--json", self.folder / "eval.json", *more, code=code)
        return json.loads((self.folder / "eval.json").read_text()) if code == 0 else result.stderr

    def losses(self, run, *more):
        """Of each part of the window, and of all, with memory and with memory reset."""
        found = self.evaluate(run, "--eval.sequences=16", *more)
        return [bucket["loss"] for part in (found, found["reset"]) for bucket in part["buckets"]]

    def digest(self, run):
        lines = self.succeed("inspect", run).stdout.splitlines()
        return next(line.split()[1] for line in lines if line.startswith("digest "))
