"""A damaged checkpoint is rejected before use and the one before it is taken; one that is intact but of another model, format or
byte order is refused by name. What only looks odd does no harm.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import ctypes.util
import os
import random
import shutil

import faults
import h5py
import runs

BLOCK = 4 << 20


def digest(data):
    """As memring writes it (XXH3, 64 bits)."""
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype, library.XXH3_64bits.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return f"{library.XXH3_64bits(data, len(data)):016x}"


def forge(manifest, *replacements):
    """Replaces texts in a manifest and seals it anew: only its content is wrong then."""
    body, _, _ = manifest.read_text().rpartition(',\n "digest"')
    for old, new in replacements:
        assert old in body, old
        body = body.replace(old, new, 1)
    manifest.write_text(f'{body},\n "digest": "{digest(body.encode())}"\n}}\n')


def cut(path, size):
    os.truncate(path, size)


def replace(path, make):
    path.unlink()
    make(path)


def move_behind_link(path):
    target = path.parent.parent / "elsewhere.h5"
    path.rename(target)
    path.symlink_to(target)


def make_big_endian(checkpoint, honest):
    """Every dataset in the other byte order; with `honest`, a manifest that fits and says so."""
    path = checkpoint / "state.h5"
    before = path.read_bytes()
    with h5py.File(path, "r") as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: (item.id.get_offset(), item[()].astype(">f4").tobytes())})
                        if isinstance(item, h5py.Dataset) else None)
    data = bytearray(before)
    for offset, swapped in found.values():
        data[offset:offset + len(swapped)] = swapped
    path.write_bytes(data)
    if honest:
        forge(checkpoint / "manifest.json", ('"byte_order": "little"', '"byte_order": "big"'),
              *((digest(before[at:at + BLOCK]), digest(bytes(data[at:at + BLOCK]))) for at in range(0, len(data), BLOCK)))


# name: (what is done to the newest checkpoint and the one before it, words of the message); the older one is taken.
DAMAGED = {
    "state.h5 cut in the middle": (lambda new, old: cut(new / "state.h5", 200000), "200000 bytes"),
    "state.h5 empty": (lambda new, old: cut(new / "state.h5", 0), "has 0 bytes"),
    "state.h5 missing": (lambda new, old: (new / "state.h5").unlink(), "does not exist"),
    "state.h5 is a folder": (lambda new, old: replace(new / "state.h5", lambda path: path.mkdir()), "is a folder"),
    "state.h5 is a pipe": (lambda new, old: replace(new / "state.h5", os.mkfifo), "is a pipe or a device"),
    "state.h5 is a link to nothing": (lambda new, old: replace(new / "state.h5", lambda p: p.symlink_to("x")), "does not exist"),
    "state.h5 is a link to itself": (lambda new, old: replace(new / "state.h5", lambda p: p.symlink_to(p)), "symbolic links"),
    "state.h5 of another": (lambda new, old: shutil.copy(old / "state.h5", new), "have digest"),
    "state.h5 in the other byte order": (lambda new, old: make_big_endian(new, honest=False), "have digest"),
    "manifest missing": (lambda new, old: (new / "manifest.json").unlink(), "does not exist"),
    "manifest empty": (lambda new, old: cut(new / "manifest.json", 0), "is damaged"),
    "manifest cut in the middle": (lambda new, old: cut(new / "manifest.json", 2000), "is damaged"),
    "manifest twice in one file": (lambda new, old: (new / "manifest.json").write_text(
        2 * (new / "manifest.json").read_text()), "is damaged"),
    "manifest of another": (lambda new, old: shutil.copy(old / "manifest.json", new), "manifest of step 6"),
    "manifest is a folder": (lambda new, old: replace(new / "manifest.json", lambda path: path.mkdir()), "is a folder"),
    "manifest is an endless device": (lambda new, old: replace(new / "manifest.json", lambda path: path.symlink_to("/dev/zero")),
                                      "is a pipe or a device"),
    "manifest too large to be one": (lambda new, old: cut(new / "manifest.json", 1 << 40), "a manifest has at most"),
    "checkpoint empty": (lambda new, old: [path.unlink() for path in new.iterdir()], "does not exist"),
}
# Intact, but not for this program: no falling back, which would lose work without a word.
REFUSED = {
    "newer format": (lambda new, old: forge(new / "manifest.json", ('"format_version": 1', '"format_version": 2')),
                     ["is of format 2", "up to 1", "newer"]),
    "other byte order": (lambda new, old: make_big_endian(new, honest=True), ['byte order "big"', '"little"']),
}
HARMLESS = {
    "a copy of the manifest beside it": lambda new, old: shutil.copy(new / "manifest.json", new / "manifest (1).json"),
    "state.h5 behind a link": lambda new, old: move_behind_link(new / "state.h5"),
    "a folder that only looks like a checkpoint": lambda new, old: (new.parent / "step-12").mkdir(),
}


class CheckpointDamage(faults.FaultTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.folder / "run"
        self.launch(self.run_directory, checkpoint__keep=3)

    def damaged(self, name, inflict):
        """A copy of the run whose newest checkpoint was damaged: its directory, and that checkpoint."""
        directory = self.folder / name.replace(" ", "-")
        shutil.copytree(self.run_directory, directory)
        _, older, newest = runs.checkpoints(directory)
        inflict(newest, older)
        return directory, newest

    def assert_passed_over(self, directory, newest, about, ranks=None):
        """The same command goes on from the one before it and makes the damaged one anew."""
        result = self.launch(directory, ranks=ranks, checkpoint__keep=3, timeout=60)
        about = f"{about}\n{result.stderr}"
        self.assertRegex(result.stdout, r"(?m)^resume +from step 6 ", about)
        self.assertEqual(result.stderr.count("memring: "), 1, about)
        self.assertIn(str(newest), result.stderr, about)
        self.assert_sound(directory, least=3, about=about)
        if not ranks:
            one, two = (runs.tensors(runs.checkpoints(where)[-1]) for where in (self.run_directory, directory))
            self.assertEqual(one, two, about)
        return result.stderr

    def assert_rejected(self, path, about):
        result = runs.run("inspect", path, timeout=30)
        self.assertEqual(result.returncode, 65, f"{about}\n{result.stdout}{result.stderr}")
        self.assertIn(str(path), result.stderr, about)
        return result.stderr

    def test_a_damaged_checkpoint_is_found_and_the_one_before_it_is_taken(self):
        def check(name, inflict, words, ranks):
            directory, newest = self.damaged(f"{name} {ranks}", inflict)
            # What belongs to another step is consistent in itself for whoever does not compare it with its folder's name.
            self.assert_rejected(newest, name)
            self.assertIn(words, self.assert_passed_over(directory, newest, name, ranks), name)

        with_two = runs.amount(["state.h5 cut in the middle", "manifest missing"], list(DAMAGED))
        cases = [(name, *case, None) for name, case in DAMAGED.items()] + [(name, *DAMAGED[name], 2) for name in with_two]
        faults.in_parallel(check, cases)
        runs.record_fault("C6", "state.h5 or manifest cut, empty, missing, doubled, swapped, or no file", len(cases),
                          "rejected before use, the one before it taken; inspect exits 65")

    def test_each_flipped_byte_is_found(self):
        source = random.SystemRandom()

        def check(number):
            name = source.choices(["state.h5", "manifest.json"], [9, 1])[0]
            position = []

            def flip(newest, _):
                data = bytearray((newest / name).read_bytes())
                position.append(source.randrange(len(data)))
                data[position[0]] ^= source.randint(1, 255)
                (newest / name).write_bytes(data)

            directory, newest = self.damaged(f"flip {number}", flip)
            about = f"byte {position[0]} of {name} flipped"
            self.assert_rejected(newest, about)
            if number % runs.amount(4, 1) == 0:
                self.assert_passed_over(directory, newest, about)
            shutil.rmtree(directory)

        count = runs.amount(20, 200)
        faults.in_parallel(check, [(number,) for number in range(count)])
        runs.record_fault("C6", "one byte at random flipped", count, "rejected before use, the one before it taken")

    def test_what_is_intact_but_not_for_this_program_is_refused_by_name(self):
        def check(name, inflict, words):
            directory, newest = self.damaged(name, inflict)
            self.assert_rejected(newest, name)
            result = self.launch(directory, code=65, checkpoint__keep=3)
            for word in [*words, str(newest)]:
                self.assertIn(word, result.stderr)
            self.assertEqual(result.stderr.count("memring: "), 1, result.stderr)
            self.assertEqual(len(runs.checkpoints(directory)), 3, "nothing was removed")

        faults.in_parallel(check, [(name, *case) for name, case in REFUSED.items()])
        runs.record_fault("C11", "newer format version, other byte order", len(REFUSED), "exit 65, named; not passed over")

    def test_a_checkpoint_of_a_foreign_model_is_refused_with_the_tensors_that_differ(self):
        foreign = self.folder / "foreign"
        self.launch(foreign, model__dim=64, model__layers=1)
        directory, newest = self.damaged("mixed", lambda new, old: shutil.rmtree(new))
        shutil.copytree(runs.checkpoints(foreign)[-1], newest)
        result = self.launch(directory, code=65, checkpoint__keep=3)
        for words in ("is of another model", "memring inspect",
                      "model.embed_tokens.weight is [256, 32] in the model and [256, 64] in the checkpoint",
                      "q_proj.weight is [32, 32]"):
            self.assertIn(words, result.stderr)
        runs.record_fault("C6", "checkpoint of a foreign model", 1, "exit 65, the tensors that differ are listed")

    def test_what_only_looks_odd_does_no_harm(self):
        def check(name, do):
            directory, newest = self.damaged(name, do)
            self.succeed("inspect", newest)
            result = self.launch(directory, checkpoint__keep=3)
            self.assertRegex(result.stdout, r"(?m)^resume +from step 8 ", name)
            self.assertEqual(result.stderr, "", name)

        faults.in_parallel(check, list(HARMLESS.items()))


if __name__ == "__main__":
    runs.main()
