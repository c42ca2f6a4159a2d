"""The base of an adapter: kept in the adapter's run, so that nothing that happens to it elsewhere is a loss; and where it
is not kept, found again by its digest, wherever it is told to lie.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import adapters
import faults
import runs


def kept(run):
    return sorted(run.glob("checkpoints/base-*"))


class Bases(adapters.AdapterTest):
    def forget(self, run):
        """What an older program has left: nothing of the base."""
        for path in kept(run):
            shutil.rmtree(path)

    def damage(self, file):
        """A byte of another file in its place: of links to the old one nothing is touched."""
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x10
        file.unlink()
        file.write_bytes(content)

    def test_a_run_keeps_its_base_whatever_becomes_of_the_run_it_is_of(self):
        digest, checkpoint = self.digest(self.base), runs.checkpoints(self.base)[-1]
        of_base = self.losses(self.base)
        for ranks in (None, 2):
            run = self.folder / f"adapter-{ranks}"
            leftover = run / "checkpoints" / "base-0.tmp-1-elsewhere"
            leftover.mkdir(parents=True)
            said = self.train(run, ranks=ranks, **{**self.keys, "run__steps": 3}).stdout
            place = run / "checkpoints" / f"base-{digest}"
            self.assertIn(f"base       {checkpoint} kept as {place} (hard links, which take no space)\n", said)
            self.assertEqual(kept(run), [place])
            self.assertTrue((place / "state.h5").samefile(checkpoint / "state.h5"))
            self.assertIn(f", kept as {place}\n", self.succeed("inspect", run).stdout)
            self.assert_intact(place)
            self.assertEqual(self.losses(place), of_base, "a model of its own, by its own configuration")
        whole = self.folder / "whole"
        self.train(whole, **self.keys)
        self.train(self.base, run__steps=40, checkpoint__every=5)
        self.assertFalse(checkpoint.exists(), "the base's own run has removed it")
        expected = self.losses(whole)
        run = self.folder / "adapter-None"
        self.assertNotIn("base       ", self.train(run, **self.keys).stdout)
        self.assert_same_losses(whole, run)
        self.train(self.folder / "adapter-2", ranks=2, **self.keys)
        shutil.rmtree(self.base)
        self.assertEqual(self.losses(run), expected)
        self.assertEqual(self.losses(runs.checkpoints(run)[-1]), expected)
        self.succeed("convert", run, "--merge", "--out", self.folder / "merged")
        self.assertAlmostEqual(self.losses(self.folder / "merged")[-1], expected[-1], delta=1e-4)

    def test_a_run_of_an_older_program_keeps_its_base_from_its_next_start_on(self):
        self.train(self.adapter, **{**self.keys, "run__steps": 3})
        self.forget(self.adapter)
        said = self.train(self.adapter, **self.keys).stdout
        self.assertIn("base       ", said)
        self.assertEqual(len(kept(self.adapter)), 1)

    def test_another_base_or_none_is_refused(self):
        self.train(self.adapter, **self.keys)
        expected = self.losses(self.adapter)
        self.forget(self.adapter)
        other, moved = self.folder / "other", self.folder / "moved"
        self.train(other, run__steps=8, run__seed=8)
        result = self.train(self.adapter, code=2, **{**self.keys, "model__from": other, "run__steps": 8})
        for digest in (self.digest(self.base), self.digest(other)):
            self.assertIn(digest, result.stderr)
        digest = self.digest(self.base)
        self.base.rename(moved)
        refused = self.evaluate(self.adapter, f"--model.from={other}", code=65)
        for text in (digest, f"{other}: another checkpoint, digest {self.digest(other)}", f"{self.base}: does not exist",
                     "say where another copy lies: --model.from=PATH"):
            self.assertIn(text, refused)
        for arguments in (("--merge", "--out", self.folder / "merged"), ("--to-peft", self.folder / "peft")):
            result = self.succeed("convert", self.adapter, *arguments, code=65)
            self.assertIn("--base=PATH", result.stderr)
        self.assertEqual(self.losses(self.adapter, f"--model.from={moved}"), expected)
        self.succeed("convert", self.adapter, "--merge", "--out", self.folder / "merged", f"--base={moved}")
        result = self.train(self.adapter, code=65, **{**self.keys, "run__steps": 8})
        self.assertIn(digest, result.stderr)
        self.train(self.adapter, **{**self.keys, "run__steps": 8, "model__from": moved})
        runs.record_fault("C6", "the frozen base of an adapter: another, moved, or gone", 6,
                          "refused with the digests that were expected and found; found again by model.from or --base")

    def test_a_damaged_base_hides_no_intact_copy(self):
        self.train(self.adapter, **self.keys)
        expected = self.losses(self.adapter)
        checkpoint, copy = runs.checkpoints(self.base)[-1], self.folder / "copy"
        shutil.copytree(checkpoint, copy)
        for name in ("state.h5", "manifest.json"):
            with self.subTest(name):
                self.damage(checkpoint / name)
                self.assertEqual(self.losses(self.adapter), expected, "its own")
                self.damage(kept(self.adapter)[0] / name)
                refused = self.evaluate(self.adapter, code=65)
                self.assertIn(str(kept(self.adapter)[0] / name), self.succeed("inspect", self.adapter, code=65).stderr)
                self.assertIn(f"{checkpoint}: ", refused)
                self.assertIn(f"{kept(self.adapter)[0]}: ", refused)
                self.assertNotIn("Remove", refused)
                self.assertEqual(self.losses(self.adapter, f"--model.from={copy}"), expected)
                out = self.folder / f"merged-{name}"
                self.succeed("convert", self.adapter, "--merge", "--out", out, f"--base={copy}")
                # The next start puts an intact one in the place of what it keeps.
                for ranks in (None, 2):
                    run = self.copy(self.adapter, f"adapter-{name}-{ranks}")
                    said = self.train(run, ranks=ranks, **{**self.keys, "run__steps": 8, "model__from": copy}).stdout
                    self.assertIn(f"base       {copy} kept as ", said)
                    self.assertEqual(len(kept(run)), 1)
                    self.assert_intact(kept(run)[0])
                shutil.rmtree(checkpoint)
                shutil.copytree(copy, checkpoint)
                self.forget(self.adapter)
                shutil.copytree(copy, self.adapter / "checkpoints" / f"base-{self.digest(copy)}")
        runs.record_fault("C6", "the frozen base of an adapter: one byte of state.h5 or of the manifest, in one place or two", 8,
                          "taken from an intact copy of the same digest; without one exit 65 with what is in each place")

    def test_a_base_of_a_start_that_saved_nothing_does_not_stay(self):
        self.train(self.adapter, **self.keys)
        old = kept(self.adapter)[0]
        for checkpoint in runs.checkpoints(self.adapter):
            shutil.rmtree(checkpoint)
        (self.adapter / "progress").unlink()
        self.train(self.base, run__steps=12)
        self.train(self.adapter, **self.keys)
        self.assertEqual(len(kept(self.adapter)), 1)
        self.assertNotEqual(kept(self.adapter)[0], old)

    def test_a_kept_base_is_replaced_where_one_of_its_files_is_another(self):
        self.train(self.adapter, **self.keys)
        for name in ("state.h5", "manifest.json"):
            with self.subTest(name):
                file = kept(self.adapter)[0] / name
                file.unlink()
                file.write_text("something else")
                run = self.copy(self.adapter, f"adapter-{name}")
                self.assertIn(" kept as ", self.train(run, **{**self.keys, "run__steps": 8}).stdout)
                self.assert_intact(kept(run)[0])

    def test_an_adapter_is_a_base_too(self):
        self.train(self.adapter, **self.keys)
        second, whole, moved = (self.folder / name for name in ("second", "whole", "moved"))
        lora = {"lora__rank": 3, "lora__alpha": 6, "lora__targets": "all"}
        self.train(second, run__steps=4, model__from=self.adapter, model__train="memory", **lora)
        self.assertEqual(len(kept(second)), 2)
        expected = self.losses(second)
        self.assertIn(self.losses(self.adapter), [self.losses(place) for place in kept(second)])
        still = {"run__steps": 1, "optimizer__lr": 0, "optimizer__warmup": 0, **lora}
        said = self.train(whole, model__from=second, **still).stdout
        self.assertNotIn("so fresh", said)
        self.assertEqual(self.losses(whole), expected)
        # Both bases are in the run; and where they are not, its base tells of the root, and model.from where that is now.
        self.base.rename(moved)
        self.assertEqual(self.losses(second), expected)
        self.forget(second)
        self.assertEqual(self.losses(second), expected)
        self.forget(self.adapter)
        self.assertIn(str(self.base), self.evaluate(second, code=65))
        self.assertEqual(self.losses(second, f"--model.from={moved}"), expected)
        self.succeed("convert", second, "--merge", "--out", self.folder / "merged", f"--base={moved}")
        (self.adapter / "checkpoints" / f"base-{self.digest(moved)}").symlink_to(runs.checkpoints(moved)[-1])
        said = self.train(self.folder / "again", model__from=second, **still).stdout
        self.assertNotIn("so fresh", said)

    def other_file_system(self):
        """A folder there, gone with the test."""
        memory = pathlib.Path("/dev/shm")
        if not memory.is_dir() or memory.stat().st_dev == self.folder.stat().st_dev:
            self.skipTest("there is no second file system")
        folder = tempfile.TemporaryDirectory(prefix="memring-e2e-", dir=memory)
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    @unittest.skipUnless("MEMRING_FAIL_CALL" in os.environ, "libraries are not loaded before those of a sanitizer")
    def test_killed_or_refused_at_every_call_of_keeping(self):
        """Linked or copied, what has the name is whole; the next start keeps it where the one before could not."""
        far = self.other_file_system() / "base"
        shutil.copytree(self.base, far)
        done = {"kill": 0, "EIO": 0}
        for base in (self.base, far):
            keys = {**self.keys, "model__from": base, "run__steps": 1}
            trace = self.folder / f"{base.parent.name}.trace"

            def start(run, **settings):
                command = runs.command(*self.train_arguments(run, **keys))
                return subprocess.run(faults.fault_on(command, **settings), capture_output=True, text=True, timeout=100, check=False)

            start(self.folder / "traced", path="/base-", trace=trace)
            calls = len(trace.read_text().splitlines())
            shutil.rmtree(self.folder / "traced")
            self.assertGreater(calls, 2)
            for number in range(1, calls + 1):
                for error in runs.amount([sorted(done)[number % 2]], sorted(done)):
                    with self.subTest(base=base, number=number, error=error):
                        run = self.folder / "run"
                        result = start(run, path="/base-", at=number, error=error)
                        if error == "kill":
                            self.assertEqual(result.returncode, -signal.SIGKILL, result.stdout + result.stderr)
                        else:
                            self.assertIn(result.returncode, (0, 74), result.stdout + result.stderr)
                        for path in kept(run):
                            if ".tmp-" not in path.name:
                                self.assert_intact(path)
                        self.train(run, **{**keys, "run__steps": 2})
                        self.assertEqual([path.name for path in kept(run)], [f"base-{self.digest(self.base)}"])
                        self.assert_intact(run)
                        shutil.rmtree(run)
                        done[error] += 1
        runs.record_fault("C1", "SIGKILL in a call of keeping an adapter's base, linked or copied", done["kill"],
                          "whole or not there; kept by the next start")
        runs.record_fault("C5", "a call of keeping an adapter's base fails: EIO", done["EIO"],
                          "a warning, or exit 74 before a step; kept by the next start")

    def test_across_file_systems_a_run_keeps_a_copy(self):
        folder = self.other_file_system()
        far, alone = folder / "base", folder / "alone"
        shutil.copytree(self.base, far)
        shutil.copytree(runs.checkpoints(self.base)[-1], alone)
        said = self.train(self.adapter, **{**self.keys, "model__from": far}).stdout
        self.assertRegex(said, r"base +.* kept as .* \(a copy of [0-9,]+ bytes\)")
        self.assert_intact(kept(self.adapter)[0])
        # A checkpoint in no run is there to stay: its gigabytes are not copied.
        other = self.folder / "other"
        self.assertIn(f"base       {alone} is of no run, and links to it are refused: it must stay there",
                      self.train(other, **{**self.keys, "model__from": alone}).stdout)
        self.assertEqual(kept(other), [])
        shutil.rmtree(far)
        self.losses(self.adapter)

    def test_a_base_that_cannot_be_kept_is_a_warning(self):
        place = self.adapter / "checkpoints" / f"base-{self.digest(self.base)}"
        place.parent.mkdir(parents=True)
        place.write_text("in the way")
        result = self.train(self.adapter, **{**self.keys, "run__steps": 3})
        self.assertIn("could not be kept in this run, whose checkpoints need it", result.stderr)
        place.unlink()
        self.assertIn("base       ", self.train(self.adapter, **self.keys).stdout)
        self.assert_intact(place)
        runs.record_fault("C5", "a file in the place where an adapter's run keeps its base", 1,
                          "a warning; the next start keeps it")


if __name__ == "__main__":
    runs.main()
