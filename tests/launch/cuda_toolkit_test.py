#!/usr/bin/env python3
"""cmake/MemringCuda.cmake: which CUDA Toolkit is taken of several, and what is said where none can be.

Usage: cuda_toolkit_test.py CMAKE ROOT [TEST...]: the toolkits here are scripts and empty files.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CMAKE, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
PROJECT = f"""cmake_minimum_required(VERSION 3.25)
project(toolkit LANGUAGES CXX)
list(APPEND CMAKE_MODULE_PATH {ROOT}/cmake)
include(MemringCuda)
message(STATUS "taken: ${{memring_CUDA_HEADERS}} ${{CUDAToolkit_NVCC_EXECUTABLE}} ${{CUDAToolkit_VERSION}}")
"""
NVCC = """#!/bin/sh
echo "Cuda compilation tools, release {0}, V{0}.1"
"""


class CudaToolkit(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="memring-toolkit-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "CMakeLists.txt").write_text(PROJECT, "utf-8")

    def toolkit(self, name, release):
        root = self.folder / name
        for path in ("bin/nvcc", "include/cuda_runtime.h", "include/cublasLt.h", "lib64/libcudart.so", "lib64/libcudart_static.a"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        (root / "bin/nvcc").write_text(NVCC.format(release), "utf-8")
        (root / "bin/nvcc").chmod(0o755)
        return root

    def configured(self, *options, path=None, cuda_path=None, code=0):
        """What CMake says in one line, of a build folder that stays; OFF looks for a toolkit too, and starts no nvcc."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA")}
        environment["PATH"] = os.pathsep.join([*([f"{path}/bin"] if path else []), "/usr/bin", "/bin"])
        if cuda_path:
            environment["CUDA_PATH"] = str(cuda_path)
        run = subprocess.run([CMAKE, "-S", self.folder, "-B", self.folder / "build", *options], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(run.returncode, code, run.stdout)
        return " ".join(run.stdout.split())

    def test_an_old_one_in_path_does_not_hide_that_of_cuda_path(self):
        old, new = self.toolkit("old", "11.8"), self.toolkit("new", "12.4")
        self.assertIn(f"taken: ON {new}/bin/nvcc 12.4.1", self.configured("-Dmemring_CUDA=OFF", path=old, cuda_path=new))

    def test_one_that_is_too_old_is_named_and_not_remembered(self):
        tools = self.toolkit("tools", "11.8")
        wanted = ("-Dmemring_CUDA=OFF", f"-DCUDAToolkit_ROOT={tools}")
        told = self.configured(wanted[1], "-Dmemring_CUDA=ON", code=1)
        self.assertIn("takes a CUDA Toolkit of version 12 or later with cuBLASLt, and", told)
        self.assertIn(f"have {tools}/bin/nvcc of release 11.8. Install one, say where it is with CUDA_PATH", told)
        self.assertIn(f"Kernels for NVIDIA GPUs: OFF ({tools}/bin/nvcc of release 11.8)", self.configured(wanted[1], "-Dmemring_CUDA=AUTO"))
        self.toolkit("tools", "12.0")
        self.assertIn(f"taken: ON {tools}/bin/nvcc 12.0.1", self.configured(*wanted))

    def test_none_and_an_nvcc_that_does_not_start_are_told(self):
        empty = self.folder / "empty"
        self.assertIn("have no nvcc.", self.configured("-Dmemring_CUDA=ON", f"-DCUDAToolkit_ROOT={empty}", code=1))
        broken = self.toolkit("broken", "12.4")
        (broken / "bin/nvcc").write_text("#!/bin/sh\nexit 3\n", "utf-8")
        self.assertIn(f"have {broken}/bin/nvcc, which tells no release.",
                      self.configured("-Dmemring_CUDA=ON", f"-DCUDAToolkit_ROOT={broken}", code=1))

    def test_values_that_are_none_are_refused(self):
        for value in ("0", "off", "MAYBE", ""):
            self.assertIn(f'memring_CUDA is "{value}", and it can be ON, OFF or AUTO',
                          self.configured(f"-Dmemring_CUDA={value}", code=1))
        for value in ("90a,80", "80 90a", "sm_90", ""):
            self.assertIn(f'memring_CUDA_ARCHITECTURES is "{value}", and it is a list as 80;90a;100',
                          self.configured("-Dmemring_CUDA=OFF", f"-Dmemring_CUDA_ARCHITECTURES={value}", code=1))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
