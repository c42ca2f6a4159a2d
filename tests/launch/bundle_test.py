#!/usr/bin/env python3
"""launch/bundle.sh: what it packs starts, alone and on two ranks, in a root that holds a C library, a shell and nothing else.

Usage: bundle_test.py SCRIPT PROGRAMS [TEST...]: PROGRAMS is the folder of a build's programs.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT, PROGRAMS = pathlib.Path(sys.argv[1]), sys.argv[2]
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin")
C_LIBRARY = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="memring-bundle-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.root = cls.folder / "root"
        for name in ("bin", "dev/shm", "proc", "sys", "tmp"):
            (cls.root / name).mkdir(parents=True)
        (cls.root / "dev/null").touch()
        shutil.copy(shutil.which("bash"), cls.root / "bin/bash")
        for path in re.findall(r"(/\S+) \(0x", run("ldd", cls.root / "bin/bash").stdout):
            cls.copy(path)
            if path.endswith("/libc.so.6"):
                for name in C_LIBRARY:
                    cls.copy(pathlib.Path(path).with_name(name))
        cls.packed = run(SCRIPT, "--programs", PROGRAMS, cls.folder / "bundle.tar.xz")
        if cls.packed.returncode == 0:
            shutil.unpack_archive(cls.folder / "bundle.tar.xz", cls.root)

    @classmethod
    def copy(cls, path):
        target = cls.root / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)

    def in_the_root(self, command):
        """Beside the C library the root has /proc and /sys, as any machine."""
        own = ("unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), shutil.which("bash"), "-ec")
        mounted = "".join(f"mount --rbind /{name} {self.root}/{name}; " for name in ("proc", "sys"))
        if run(*own, mounted).returncode:
            self.skipTest("no root of its own can be had here")
        return run(*own, f"{mounted} exec env -i PATH=/bin OMP_NUM_THREADS=1 {CHROOT} {self.root} /memring-bundle/run {command}")

    def test_says_what_it_holds_and_what_it_lacks(self):
        self.assertEqual(self.packed.returncode, 0, self.packed.stderr)
        self.assertRegex(self.packed.stdout, r"bundle\.tar\.xz: \d+\.\d MB packed, \S+ unpacked, programs: .*\bmemring\b.*mpirun")
        self.assertIn("has no device_tests" if not os.path.exists(f"{PROGRAMS}/device_tests") else "device_tests",
                      self.packed.stdout)

    def test_the_program_starts(self):
        told = self.in_the_root("memring doctor")
        self.assertEqual((told.returncode, told.stderr), (0, ""), told.stdout)
        self.assertIn("MPI        Open MPI", told.stdout)

    def test_its_check_of_a_gpu_finds_its_programs(self):
        out = self.folder / "out"
        told = run(self.root / "memring-bundle/launch/gpu_check.sh", "--out", out)
        self.assertEqual(told.returncode, 1, told.stderr)
        self.assertIn("fail     1 memring doctor: kind = auto: cpu", told.stdout)
        self.assertRegex(told.stdout, r"figure   1 C library: glibc (\S+), packed on glibc \1\n")
        (self.root / "memring-bundle/packed_on").write_text("glibc 9.99\n")
        told = run(self.root / "memring-bundle/launch/gpu_check.sh", "--only", "1", "--out", self.folder / "older")
        self.assertIn("the bundle was packed on glibc 9.99: pack it on an older system", told.stdout)
        self.assertIn("all other steps | skipped | there is no usable GPU", (out / "report.md").read_text("utf-8"))

    def test_two_ranks_start_and_agree_with_a_fixture(self):
        fixture = "/memring-bundle/tests/golden/rmt_full.h5"
        told = self.in_the_root(f"mpirun -n 2 memring verify {fixture} --mesh.segment=2 --device.dtype=fp64")
        self.assertEqual((told.returncode, told.stderr), (0, ""), told.stdout)
        self.assertIn(f"pass {fixture}", told.stdout)

    def test_a_folder_without_programs_is_refused_by_name(self):
        found = run(SCRIPT, "--programs", self.folder, self.folder / "none.tar.xz")
        self.assertEqual(found.returncode, 2)
        self.assertIn(f"{self.folder} has none of memring", found.stderr)

    def test_mistakes_are_told_before_anything_is_packed(self):
        for arguments, words in ((("--programs",), "--programs needs a value"),
                                 (("--architectures", "90a", "--programs", PROGRAMS), "--architectures is for programs that are built"),
                                 (("--programs", PROGRAMS, "a", "b"), "two files are named"),
                                 (("--programs", PROGRAMS, self.folder), f"{self.folder} is a folder; name a file in it"),
                                 (("--programs", PROGRAMS, "/proc/none/a"), "/proc/none cannot be written; name a file")):
            found = run(SCRIPT, *arguments)
            self.assertEqual((found.returncode, found.stdout), (2, ""), arguments)
            self.assertIn(words, found.stderr)

    def test_what_cannot_be_written_leaves_what_was_there(self):
        own = self.folder / "files"
        own.mkdir()
        (own / "kept.tar.xz").write_text("kept", "utf-8")
        (self.folder / "xz").write_text("#!/bin/sh\necho no space left >&2\nexit 1\n", "utf-8")
        (self.folder / "xz").chmod(0o755)
        found = run(SCRIPT, "--programs", os.path.relpath(PROGRAMS, own), "kept.tar.xz", cwd=own,
                    env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"})
        self.assertEqual(found.returncode, 74, found.stderr)
        self.assertIn(f"{own}/kept.tar.xz was not written (above), and what was there before stays", found.stderr)
        self.assertEqual([(path.name, path.read_text("utf-8")) for path in own.iterdir()], [("kept.tar.xz", "kept")])

    def test_its_environment_is_told_by_bash_alone_and_whatever_cdpath_says(self):
        told = run("bash", "-ec", ". memring-bundle/env.sh && echo $OPAL_PREFIX", cwd=self.root,
                   env={**os.environ, "CDPATH": f".:{self.folder}"})
        self.assertEqual(told.stdout, f"{self.root}/memring-bundle\n", told.stderr)
        if shutil.which("dash"):
            told = run("dash", "-c", ". ./memring-bundle/env.sh || echo $?", cwd=self.root)
            self.assertEqual(told.stdout, "1\n")
            self.assertIn("this is no bash", told.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
