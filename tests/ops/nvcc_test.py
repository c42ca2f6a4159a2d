#!/usr/bin/env python3
"""The tables of kernels on devices (kernels/*/cuda.h) and the kernels (kernels/*/*.cu) compile with nvcc, where there is
one, and nothing that a kernel holds in registers is spilled.

What they include must stay free of what its front end does not take: fmt in C++20, for one. A build for CPUs needs no
CUDA Toolkit.
Usage: nvcc_test.py ROOT HOST-COMPILER [unittest's arguments]
SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT, HOST_COMPILER = pathlib.Path(sys.argv[1]), sys.argv[2]
FIRST_WITH_CPP20 = 12  # the toolkit's major version


def find_nvcc():
    """The path of an nvcc that can compile C++20; raises SkipTest that says what is there instead."""
    folders = [os.environ.get("PATH", ""), *(os.path.join(home, "bin") for home in
                                             filter(None, [os.environ.get("CUDA_PATH"), "/usr/local/cuda"]))]
    nvcc = shutil.which("nvcc", path=os.pathsep.join(folders))
    if nvcc is None:
        raise unittest.SkipTest("nvcc was found neither in PATH nor in CUDA_PATH nor in /usr/local/cuda")
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release (\d+)\.\d+", version)
    if release is None or int(release.group(1)) < FIRST_WITH_CPP20:
        found = release.group(0) if release else "an unknown release"
        raise unittest.SkipTest(f"{nvcc} is of {found}; {FIRST_WITH_CPP20} and later know C++20")
    return nvcc


ARCHITECTURES = ("80", "90a", "100") if os.environ.get("MEMRING_LONG") == "1" else ("90a",)


class Nvcc(unittest.TestCase):
    def test_every_kernel_compiles_and_spills_nothing(self):
        nvcc = find_nvcc()
        sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("kernels/*/*.cu"))
        self.assertTrue(sources, f"no kernels/*/*.cu in {ROOT}")

        def compiled(source):
            """What the compiler says of it."""
            targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
            return subprocess.run(
                [nvcc, "-std=c++20", "--expt-relaxed-constexpr", *targets, "-ccbin", HOST_COMPILER, "--Werror=all-warnings",
                 "-Xcompiler=-Wall,-Wextra,-Wshadow", f"-I{ROOT}", f"-I{ROOT / 'src'}", f"-I{ROOT / 'kernels/cuda/nvcc'}",
                 "-Xptxas=-v", "-c", source, "-o", os.devnull],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for source, result in zip(sources, pool.map(compiled, sources)):
                with self.subTest(source=source):
                    self.assertEqual(result.returncode, 0, result.stdout)
                    spilled = re.findall(r"Compiling entry function '(\w+)'.*\n(?:.*\n)?.* ([0-9]+) bytes spill stores", result.stdout)
                    self.assertEqual(bool(spilled), "MEMRING_KERNEL" in (ROOT / source).read_text("utf-8"), result.stdout)
                    self.assertEqual([name for name, count in spilled if count != "0"], [])

    def test_every_table_and_word_compiles(self):
        nvcc = find_nvcc()
        headers = sorted(path.relative_to(ROOT).as_posix() for pattern in ("kernels/*/cuda.h", "kernels/cuda/nvcc/*.h")
                         for path in ROOT.glob(pattern))
        self.assertTrue(headers, f"no kernels/*/cuda.h in {ROOT}")
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder, "headers.cu")
            unit.write_text("".join(f'#include "{header}"\n' for header in headers))
            result = subprocess.run(
                [nvcc, "-std=c++20", "-arch=sm_80", "-ccbin", HOST_COMPILER, "--Werror=all-warnings",
                 "-Xcompiler=-Wall,-Wextra,-Wshadow", f"-I{ROOT}", f"-I{ROOT / 'src'}", f"-I{ROOT / 'kernels/cuda/nvcc'}",
                 "-c", unit, "-o", unit.with_suffix(".o")],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_a_launch_that_fails_is_refused_with_its_place(self):
        nvcc = find_nvcc()
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder, "launch.cu")
            unit.write_text(FAILING_LAUNCH)
            built = subprocess.run(
                [nvcc, "-std=c++20", "-arch=sm_80", "-ccbin", HOST_COMPILER, f"-I{ROOT}", f"-I{ROOT / 'src'}",
                 f"-I{ROOT / 'kernels/cuda/nvcc'}", unit, "-o", unit.with_suffix("")],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            self.assertEqual(built.returncode, 0, built.stdout)
            run = subprocess.run([unit.with_suffix("")], stdout=subprocess.PIPE, text=True, check=True)
        line = FAILING_LAUNCH.splitlines().index("  launch<nothing>(queue, Grid{1, 1, 0, 0});") + 1
        self.assertRegex(run.stdout, rf"launch\.cu:{line}: 0 threads: \w+")


# No kernel has no threads: where there is no GPU it does not come to that.
FAILING_LAUNCH = """
#include <lane.h>
#include <launch.h>
#include <cstdio>
#include <cstdlib>
using namespace memring;
cudaStream_t memring::stream_of(const Queue&) { return nullptr; }
void memring::refuse_launch(const char* file, int line, const Grid& grid, const char* why) {
  std::printf("%s:%d: %d threads: %s", file, line, grid.threads, why);
  std::exit(0);
}
MEMRING_KERNEL void nothing() {}
int main() {
  alignas(Queue) unsigned char room[sizeof(Queue)];  // whose stream nobody asks for
  Queue& queue = *reinterpret_cast<Queue*>(room);
  launch<nothing>(queue, Grid{1, 1, 0, 0});
}
"""

if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
