#!/usr/bin/env python3
"""launch/tested_state.sh: whatever the result of the tests depends on changes its lines, and nothing else does.

Usage: tested_state_test.py SCRIPT [TEST...]
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

SCRIPT = pathlib.Path(sys.argv[1])


class TestedState(unittest.TestCase):
    def setUp(self):
        """A repository of one file a folder whose only program is `true`, with a C library of its own."""
        folder = tempfile.TemporaryDirectory(prefix="memring-state-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in (".ci/run", "cmake/a.cmake", "configs/a.ini", "dist/a.cpp", "kernels/a.cpp", "src/a.cpp", "tests/a.py",
                     "CMakeLists.txt", "CMakePresets.json"):
            self.write(name, f"this is {name}\n")
        self.write("compiler", "#!/bin/sh\necho compiler 1\n").chmod(0o755)
        self.write("build/cpu/CMakeCache.txt", f"CMAKE_CXX_COMPILER:STRING={self.root}/compiler\n"
                   f"Python3_EXECUTABLE:UNINITIALIZED={sys.executable}\nMPIEXEC_EXECUTABLE:FILEPATH={shutil.which('sh')}\n")
        for source, target in ((SCRIPT, "launch/tested_state.sh"), (shutil.which("true"), "build/cpu/bin/program"),
                               (self.c_library(), "libraries/libc.so.6")):
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, self.root / target)
        self.before = self.state()

    def c_library(self):
        found = subprocess.run(["ldd", shutil.which("true")], capture_output=True, text=True, check=True).stdout
        return re.search(r"libc\.so\.6 => (\S+)", found)[1]

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def state(self):
        return subprocess.run([self.root / "launch/tested_state.sh", "cpu"], capture_output=True, text=True, check=True,
                              env={**os.environ, "LD_LIBRARY_PATH": str(self.root / "libraries")}).stdout

    def test_new_times_and_caches_change_nothing(self):
        os.utime(self.root / "src/a.cpp", (1, 1))
        os.utime(self.root / "build/cpu/bin/program")
        self.write("tests/__pycache__/a.pyc", "cache")
        self.assertEqual(self.state(), self.before)

    def test_a_file_that_is_gone_new_or_other_counts_whatever_its_time(self):
        self.write("build/cpu/bin/another", "program").chmod(0o755)
        seen = {self.before, self.state()}
        for name in ("tests/a.py", ".ci/run", "kernels/a.cpp", "build/cpu/bin/another"):
            path = self.root / name
            times = path.stat()
            shutil.copy2(path, str(path) + ".new")
            seen.add(self.state())
            path.write_text("other", "utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            seen.add(self.state())
            path.unlink()
            seen.add(self.state())
        self.assertEqual(len(seen), 2 + 4 * 3)

    def test_an_upgraded_library_counts(self):
        self.assertIn(str(self.root / "libraries/libc.so.6"), self.before)
        os.utime(self.root / "libraries/libc.so.6", (1, 1))
        self.assertNotEqual(self.state(), self.before)

    def test_another_compiler_counts(self):
        self.write("compiler", "#!/bin/sh\necho compiler 2\n")
        self.assertNotEqual(self.state(), self.before)

    def test_the_cpu_is_named(self):
        for line in pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith(("model name", "flags")):
                self.assertIn(line, self.before.splitlines())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
