"""Ranks that find something wrong, or that were started with something else than the others: one message that names the rank,
its exit code for the whole job, within seconds, whatever the others wait for.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil
import subprocess
import time

import faults
import jobs
import runs


class FailingRanks(jobs.JobTest):
    def odd_one(self, ranks, odd, usual, different):
        """Starts `ranks` ranks of which number `odd` has the command line `different`; -> (result, seconds)."""
        command = [runs.MPIEXEC]
        for rank in range(ranks):
            command += ([":"] if rank else []) + ["-n", 1, *(different if rank == odd else usual)]
        start = time.monotonic()
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
        return result, time.monotonic() - start

    def assert_refused(self, code, pattern, ranks, odd, usual, different):
        result, seconds = self.odd_one(ranks, odd, usual, different)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertLess(seconds, 20)
        self.assert_one_message(result.stderr, rf"^memring: rank {odd} of {ranks} \(\S+\): {pattern}")
        self.assert_nothing_left(result.stderr)
        return result.stderr

    def training(self, directory, **keys):
        return [runs.MEMRING, *self.train_arguments(directory, **{"mesh__segment": 2, **keys})]

    def on_failing_disk(self, command, call, path, first):
        """The command, with every such call failing from number `first` on."""
        return faults.fault_on(command, call=call, path=path, at=first, many=10**9, error="EIO")

    def test_another_configuration_is_named_key_by_key(self):
        usual = self.training(self.folder / "run", mesh__segment=3)
        different = self.training(self.folder / "run", mesh__segment=3, optimizer__lr=0.1, checkpoint__every=7)
        for odd in (1, 2):
            output = self.assert_refused(2, "this rank was not started like rank 0", 3, odd, usual, different)
            self.assertIn("\n    checkpoint.every: 0 -> 7\n    optimizer.lr: 0.003 -> 0.1\n  Start every rank", output)
            self.assertFalse((self.folder / "run").exists(), "nothing may have been touched")
        runs.record_fault("H5", "a rank with another configuration", 2, "refused with 2; the message names rank and keys")

    def test_another_version_is_named(self):
        usual, other = self.training(self.folder / "run"), pathlib.Path(os.environ["MEMRING_OTHER_VERSION"])
        output = self.assert_refused(2, "this rank was not started like rank 0", 2, 1, usual, [other, *usual[1:]])
        self.assertRegex(output, r"\n    memring version: \d\S+ -> 99\.0\.0\n  Start every rank with the same program")
        runs.record_fault("H5", "a rank of another program version", 1, "refused with 2; the message names rank and versions")

    def test_another_build_of_the_same_version_is_named(self):
        usual, other = self.training(self.folder / "run"), pathlib.Path(os.environ["MEMRING_OTHER_SOURCES"])
        output = self.assert_refused(2, "this rank was not started like rank 0", 2, 1, usual, [other, *usual[1:]])
        self.assertRegex(output, r"\n    memring sources: [0-9a-f]{8} -> 00000000\n  Start every rank with the same program")
        runs.record_fault("H5", "a rank of another build of the same version", 1, "refused with 2; the message names rank and digests")

    def test_other_data_is_named_and_a_copy_is_as_good(self):
        text, other, copy = (self.folder / name for name in ("other.txt", "other.h5", "copy.h5"))
        text.write_text(self.text.read_text().upper())
        self.succeed("pack", text, "--out", other)
        shutil.copy(self.tokens, copy)
        directory = self.folder / "run"
        output = self.assert_refused(65, r".*other\.h5 holds other tokens here than on rank 0: digest \w+, there \w+$", 2, 1,
                                     self.training(directory), self.training(directory, data__path=other))
        self.assertIn("\n  Give every rank the same token file.\n", output)
        runs.record_fault("H5", "a rank with other data", 1, "refused with 65; the message names rank and file")
        result, _ = self.odd_one(2, 1, self.training(directory, run__steps=1), self.training(directory, run__steps=1, data__path=copy))
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_an_evaluation_compares_its_ranks_too(self):
        self.succeed(*self.train_arguments(self.folder / "run", run__steps=1))
        usual = [runs.MEMRING, "eval", self.folder / "run"]
        self.assert_refused(2, "this rank was not started like rank 0", 2, 1, usual, [*usual, "--eval.buckets=3"])

    def test_another_instruction_set_is_legal_and_said(self):
        directory = self.folder / "run"
        result, _ = self.odd_one(2, 1, self.training(directory, run__steps=2, device__isa="avx2"),
                                 self.training(directory, run__steps=2, device__isa="baseline"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout + result.stderr, "warning: ranks compute with different instruction sets, baseline to avx2")

    def test_a_failure_at_the_start_is_said_once(self):
        """Rank 1 alone is told of a token file that does not exist, while the others wait for it."""
        usual = self.training(self.folder / "run", mesh__segment=3)
        missing = self.training(self.folder / "run", mesh__segment=3, data__path=self.folder / "missing.h5")
        self.assert_refused(65, r".*missing\.h5", 3, 1, usual, missing)

    def test_a_failure_in_a_step_is_said_once(self):
        directory = self.folder / "run"
        usual = self.training(directory, run__steps=100000, checkpoint__every=2)
        for number, odd in enumerate((0, 1)):
            failing = self.on_failing_disk(usual, "pread", self.tokens.name, 500 + 100 * number)
            self.assert_refused(74, r".*text\.h5.*Input/output error", 2, odd, usual, failing)
            self.assert_intact(directory)
            self.assertTrue(runs.checkpoints(directory))
        runs.record_fault("H5", "EIO while one rank reads tokens in a step", 2, "ended with 74, one message, checkpoints intact")

    def test_a_failure_of_the_final_save_is_said_once(self):
        """All ranks learn of it, so it is rank 0 that speaks."""
        usual = self.training(self.folder / "run", run__steps=2)
        result, _ = self.odd_one(2, 1, usual, self.on_failing_disk(usual, "pwrite", "/checkpoints/", 1))
        self.assertEqual(result.returncode, 74, result.stdout + result.stderr)
        self.assert_one_message(result.stderr, r"^memring: rank 0 of 2 .*the checkpoint of step 2 .* rank 1: .*Input/output error")
        self.assertEqual(list((self.folder / "run/checkpoints").iterdir()), [])
        self.assert_nothing_left()


if __name__ == "__main__":
    runs.main()
