"""Bad input: one message that says what was found, what was expected and what to do, and the right exit code.

SPDX-License-Identifier: Apache-2.0
"""
import runs


class BadInput(runs.RunTest):
    def refuse(self, code, *words, ranks=None, arguments=None, **keys):
        """memring train ends with `code` and one message that holds all of `words`."""
        self.refused = getattr(self, "refused", 0) + 1
        directory = self.folder / f"run-{self.refused}"
        result = runs.run(*(arguments or self.train_arguments(directory, **{"run__steps": 2, **keys})), ranks=ranks)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertEqual(result.stderr.count("memring: "), 1, f"not one message:\n{result.stderr}")
        for word in words:
            self.assertIn(str(word), result.stderr)
        self.assertEqual(runs.losses(directory), {}, "not a step was made")

    def write(self, line):
        """The configuration with one line more at its end, and that line's number."""
        self.config.write_text(runs.CONFIG + line + "\n")
        return runs.CONFIG.count("\n") + 1

    def test_unknown_and_misspelt_keys(self):
        self.refuse(2, "model.layer", "model.layers", model__layer=2)
        number = self.write("[optimizer]\nlearning_rate = 1")
        self.refuse(2, f"{self.config}:{number + 1}", "optimizer.learning_rate")
        self.write("[optimiser]\nbeta3 = 1")
        self.refuse(2, "optimiser", "optimizer")

    def test_wrong_types_and_ranges(self):
        self.refuse(2, "model.layers", "many", model__layers="many")
        self.refuse(2, "optimizer.beta1", "1.5", optimizer__beta1="1.5")
        self.refuse(2, "data.batch", data__batch=0)
        self.refuse(2, "model.tied", "perhaps", model__tied="perhaps")
        self.refuse(2, "memory.kind", "rmt", memory__kind="rnt")

    def test_impossible_combinations(self):
        self.refuse(2, "model.heads", "model.kv_heads", model__heads=4, model__kv_heads=3)
        self.refuse(2, "segment.length", segment__length=0)
        self.refuse(2, "mesh.data", "mesh.segment", mesh__data=0, mesh__segment=0)
        self.refuse(2, "mesh.segment", "3", ranks=2, mesh__segment=3)

    def test_unusable_token_files(self):
        missing = self.folder / "missing.h5"
        self.refuse(65, missing, data__path=missing)
        self.refuse(65, self.text, "HDF5", data__path=self.text)
        fixture = self.folder / "empty.h5"
        fixture.write_bytes(self.tokens.read_bytes()[:4096])
        self.refuse(65, fixture, data__path=fixture)
        self.refuse(65, "20,000", data__length=30000)

    def test_tokens_outside_the_vocabulary(self):
        self.refuse(65, self.tokens, "256", "100", model__vocab=100)

    def test_missing_configuration(self):
        self.refuse(2, "none.ini", arguments=["train", self.folder / "none.ini"])

    def test_all_ranks_find_the_same_fault_and_say_it_once(self):
        self.refuse(2, "model.layer", ranks=3, model__layer=2)
        self.refuse(65, "missing.h5", ranks=3, mesh__segment=3, data__path=self.folder / "missing.h5")

    def test_a_run_directory_of_another_configuration(self):
        directory = self.folder / "run"
        self.train(directory, run__steps=2)
        result = runs.run(*self.train_arguments(directory, run__steps=4, model__dim=64))
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        for word in ("model.dim", "32", "64", str(directory)):
            self.assertIn(word, result.stderr)
        self.assertEqual(sorted(runs.losses(directory)), [1, 2], "the old run is as it was")
        self.train(directory, run__steps=4)  # more steps are the same run

    def test_a_start_that_failed_does_not_claim_the_run_directory(self):
        directory = self.folder / "run"
        self.train(directory, code=65, run__steps=2, data__path=self.folder / "mistyped.h5")
        self.train(directory, run__steps=2)

    def test_other_data_under_the_name_of_a_run_is_refused_and_the_same_data_under_another_name_is_not(self):
        directory, moved, other = (self.folder / name for name in ("run", "moved.h5", "other.h5"))
        self.train(directory, run__steps=2)
        moved.write_bytes(self.tokens.read_bytes())
        self.train(directory, run__steps=4, data__path=moved)
        self.text.write_text(self.text.read_text().upper())
        self.succeed("pack", self.text, "--out", other)
        self.assertIn("data.digest", self.train(directory, code=2, run__steps=6, data__path=other).stderr)

    def test_a_run_directory_in_use_by_another_job(self):
        directory = self.folder / "run"
        process = self.start(*self.train_arguments(directory, run__steps=100000))
        self.assertTrue(self.await_step(process, directory, 2))
        result = runs.run(*self.train_arguments(directory, run__steps=100000))
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertIn(str(process.pid), result.stderr, "the holder is named")
        self.assertIsNone(process.poll(), "the holder goes on")
        process.terminate()
        self.assertEqual(self.code_of(process)[0], 75)


if __name__ == "__main__":
    runs.main()
