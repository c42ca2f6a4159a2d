#!/usr/bin/env python3
"""The tables of kernels on devices (kernels/*/cuda.h) and the kernels (kernels/*/*.cu) compile with nvcc, where there
is one, and take as many registers as tests/ops/registers.txt says; so do those that hold fibers to the hardware
(tests/device).

What they include must stay free of what its front end does not take: fmt in C++20, for one. A build for CPUs needs no
CUDA Toolkit.
Usage: nvcc_test.py ROOT HOST-COMPILER [unittest's arguments] | nvcc_test.py ROOT HOST-COMPILER --write
--write writes the list, which takes minutes: what it has then is looked at as every other change.
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
    """The path of an nvcc that can compile C++20, as cmake/MemringCuda.cmake takes one; raises SkipTest that says what is there
    instead."""
    folders = [os.environ.get("PATH", ""), *(os.path.join(home, "bin") for home in
                                             filter(None, [os.environ.get("CUDA_PATH"), "/usr/local/cuda"]))]
    found = []
    for nvcc in filter(None, (shutil.which("nvcc", path=folder) for folder in folders)):
        release = re.search(r"release (\d+)\.\d+", subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE,
                                                                  stderr=subprocess.STDOUT, text=True, check=False).stdout)
        if release and int(release.group(1)) >= FIRST_WITH_CPP20:
            return nvcc
        found.append(f"{nvcc} is of {release.group(0) if release else 'an unknown release'}")
    raise unittest.SkipTest(f"{', '.join(found)}; {FIRST_WITH_CPP20} and later know C++20" if found else
                            "nvcc was found neither in PATH nor in CUDA_PATH nor in /usr/local/cuda")


ALL_ARCHITECTURES = ("80", "90a", "100")
ARCHITECTURES = ALL_ARCHITECTURES if os.environ.get("MEMRING_LONG") == "1" else ("90a",)
HOPPER = {"tests/device/hopper_words.cu"}  # for 90a alone
LIST = ROOT / "tests/ops/registers.txt"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'.*?"
                   r"(\d+) bytes spill stores.*?Used (\d+) registers", re.DOTALL)


def release_of(nvcc):
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release (\S+),", version).group(1)


def compile_kernels(nvcc, source, architectures):
    """{(kernel, architecture): registers}; bytes that are spilled stand behind a +. What fails is an assertion."""
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures if a == "90a" or source not in HOPPER]
    result = subprocess.run(
        [nvcc, "-std=c++20", "--expt-relaxed-constexpr", *targets, "-ccbin", HOST_COMPILER, "--Werror=all-warnings",
         "-Xcompiler=-Wall,-Wextra,-Wshadow", f"-I{ROOT}", f"-I{ROOT / 'src'}", f"-I{ROOT / 'kernels/cuda/nvcc'}",
         f"-I{ROOT / 'tests/device/gpu'}", "-Xptxas=-v", "-c", source, "-o", os.devnull],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert result.returncode == 0, result.stdout
    entries = ENTRY.findall(result.stdout)
    assert bool(entries) == ("MEMRING_KERNEL" in (ROOT / source).read_text("utf-8")), result.stdout
    names = subprocess.run(["c++filt", *(entry[0] for entry in entries)], capture_output=True, text=True, check=True)
    folder = pathlib.Path(source).parent.name
    return {(f"{folder}: {short(name)}", architecture): registers if spilled == "0" else f"{registers}+{spilled}"
            for name, (_, architecture, spilled, registers) in zip(names.stdout.splitlines(), entries)}


def short(name):
    """A kernel's name without its namespaces, result and parameters."""
    name = re.sub(r"memring::|on_gpu::|\(anonymous namespace\)::", "", name).removeprefix("void ")
    depth = 0
    for at, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            return name[:at]
    return name


def compile_all(nvcc, architectures):
    """The same of all kernels, and what failed, by source."""
    sources = sorted(path.relative_to(ROOT).as_posix() for pattern in ("kernels/*/*.cu", "tests/device/*.cu")
                     for path in ROOT.glob(pattern))
    found, failed = {}, {}

    def compiled(source):
        try:
            found.update(compile_kernels(nvcc, source, architectures))
        except AssertionError as error:
            failed[source] = str(error)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(compiled, sources))
    return found, failed


def text_of(found, release):
    lines = [f"# Registers of each kernel by nvcc {release} for sm_80, sm_90a and sm_100; behind a +: bytes spilled.",
             "# Written by tests/ops/nvcc_test.py ROOT HOST-COMPILER --write; SPDX-License-Identifier: Apache-2.0"]
    for kernel in sorted({kernel for kernel, _ in found}):
        lines.append(" | ".join([kernel, *(found.get((kernel, a), "-") for a in ALL_ARCHITECTURES)]))
    return "\n".join(lines) + "\n"


def read_list():
    """The release of nvcc, and what text_of() was given."""
    lines = LIST.read_text("utf-8").splitlines()
    found = {}
    for line in lines[2:]:
        kernel, *registers = line.split(" | ")
        found.update({(kernel, a): count for a, count in zip(ALL_ARCHITECTURES, registers) if count != "-"})
    return re.search(r"nvcc (\S+)", lines[0]).group(1), found


class Nvcc(unittest.TestCase):
    maxDiff = None

    def test_every_kernel_compiles_with_the_registers_of_the_list(self):
        nvcc = find_nvcc()
        found, failed = compile_all(nvcc, ARCHITECTURES)
        for source, why in failed.items():
            with self.subTest(source=source):
                self.fail(why)
        release, listed = read_list()
        listed = {key: count for key, count in listed.items() if key[1] in ARCHITECTURES}
        if release != release_of(nvcc):  # another compiler counts otherwise; it may not spill more kernels
            found, listed = ({key for key, count in of.items() if "+" in count} for of in (found, listed))
            self.assertEqual(found - listed, set())
            return
        self.assertEqual(found, listed, f"look at what changed, and write {LIST.name} anew: "
                                        f"tests/ops/nvcc_test.py {ROOT} {HOST_COMPILER} --write")

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
    if sys.argv[3:] == ["--write"]:
        try:
            compiler = find_nvcc()
        except unittest.SkipTest as why:
            sys.exit(f"{LIST} stays as it is: {why}")
        kernels, failures = compile_all(compiler, ALL_ARCHITECTURES)
        LIST.write_text(text_of(kernels, release_of(compiler)), "utf-8")
        sys.exit("\n".join(failures.values()) or 0)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
