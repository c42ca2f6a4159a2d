#!/usr/bin/env python3
"""The steps of launch/gpu_check.sh, which calls this once for each and sets their time limits.

Usage: gpu_check_steps.py HOME PROGRAMS OUT real|dry STEP
HOME is the bundle or the checkout, PROGRAMS the folder of its programs. dry: fibers in place of the GPU, tiny sizes.
SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import os
import pathlib
import platform
import re
import shlex
import shutil
import site
import subprocess
import sys

from gpu_check_report import Report
from gpu_check_speed import attention, ceilings

ON_FIBERS = {"memring": "memring_fiber", "ops_cuda_tests": "ops_fiber_tests", "device_speed": "device_speed_fiber"}
# In bf16 three times what ARMT's tiny models err by on the CPU: operators' own tests are the sharp ones.
TYPES = {"fp64": [], "fp32": [], "bf16": ["--state-tolerance=0.35", "--gradient-tolerance=1.5"]}
NOT_USABLE = 3  # launch/gpu_check.sh then leaves out the rest
SHARING = ("RmsNorm", "SquaredNorm", "CrossEntropy", "AttentionMma")  # threads of a block, each in another way
GPU_FACTS = ["nvidia-smi", "--format=csv", "--query-gpu=name,driver_version,compute_cap,memory.total,clocks.sm,clocks.max.sm,"
             "clocks.mem,power.limit,temperature.gpu,mig.mode.current"]
TORCH_VERSIONS = """import torch
print(torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version(),
      "NCCL", torch.cuda.nccl.version() if torch.cuda.is_available() else "unknown")"""
BITS = re.compile(r"^\[ +BITS \] (\S+) (\w+)$", re.MULTILINE)
ENDED = re.compile(r"^\[ +(?P<end>OK|FAILED|SKIPPED) +\] \w+\.(?P<test>\w+).* \(\d+ ms\)$", re.MULTILINE)


class Check:
    def __init__(self, home, programs, out, how, step):
        self.home, self.programs, self.out = pathlib.Path(home), pathlib.Path(programs), pathlib.Path(out)
        self.dry, self.step, self.report = how == "dry", step, Report(out)
        (self.out / "logs").mkdir(parents=True, exist_ok=True)
        # What came with PyTorch serves as well as a toolkit.
        libraries = [str(found) for folder in site.getsitepackages() for found in pathlib.Path(folder).glob("nvidia/*/lib")]
        os.environ.setdefault("MEMRING_CUDA_LIBRARIES", ":".join(libraries))

    def row(self, what, result, detail="", command=""):
        self.report.add(self.step, what, result, detail, command)

    def program(self, name, absent="skipped"):
        """How it is started, with the libraries of the bundle where this is one; none, and a row, where it is not."""
        path = self.programs / (ON_FIBERS.get(name, name) if self.dry else name)
        if not path.exists():
            self.row(name, absent, f"{path} is not here")
            return []
        run = self.home / "run"
        return [str(run), str(path)] if run.exists() else [str(path)]

    def run(self, name, command, limit, **environment):
        """(exit code, output): an end by the time limit is 124, by a signal negative. The output stays in logs/."""
        log = self.out / "logs" / f"{self.step}-{name.replace(' ', '-')}.log"
        with open(log, "w", encoding="utf-8") as file:
            try:
                code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False,
                                      env={**os.environ, **environment}).returncode
            except subprocess.TimeoutExpired:
                code = 124
            except OSError as error:
                code = 127
                file.write(str(error))
        return code, log.read_text("utf-8", "replace")

    def each(self, work, names):
        """(name, work(name)) of each as it comes to its end, some side by side."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=2 if self.dry else 4) as pool:
            runs = {pool.submit(work, name): name for name in names}
            for run in concurrent.futures.as_completed(runs):
                yield runs[run], run.result()


def ending(code, output):
    """How a program ended, and its last words."""
    how = {124: "ran past its time limit"}.get(code, f"ended by signal {-code}" if code < 0 else f"ended with {code}")
    return f"{how}: {' / '.join(output.strip().splitlines()[-3:])[:400]}"


def machine(check):
    """False where no GPU is usable: then nothing behind this can tell anything."""
    usable = False
    if doctor := check.program("memring", absent="fail"):
        code, told = check.run("doctor", [*doctor, "doctor"], 15)
        device = re.search(r"^device +(.*)", told, re.MULTILINE)
        usable = code == 0 and device is not None and " for kind = cuda" in device[1]
        version = re.search(r"^memring +(.*)", told, re.MULTILINE)
        check.row("memring", "figure", (version[1] if version else "tells no version") + ", on fibers, not on a GPU" * check.dry)
        check.row("memring doctor", "pass" if usable else "fail", device[1] if device else ending(code, told),
                  shlex.join([*doctor, "doctor"]))
    here, packed = " ".join(platform.libc_ver()), check.home / "packed_on"
    on = packed.read_text("utf-8").strip() if packed.exists() else here
    older = [int(part) for part in re.findall(r"\d+", here)] < [int(part) for part in re.findall(r"\d+", on)]
    check.row("C library", "fail" if older else "figure",
              f"{here}, and the bundle was packed on {on}: pack it on an older system" if older else f"{here}, packed on {on}")
    for what, command in {"GPU": GPU_FACTS, "nvcc": [shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc", "--version"],
                          "PyTorch": [sys.executable, "-c", TORCH_VERSIONS]}.items():
        code, told = check.run(what, command, 30)
        lines = told.strip().splitlines() or [""]
        if code == 0 and what == "GPU":  # names, then values
            lines.append(", ".join(" ".join(pair) for pair in zip(*(line.split(", ") for line in lines[:2]))))
        check.row(what, "skipped" if code else "figure", lines[-1])
    return usable


def tests_of(program):
    """{suite: [its tests]} of a program of GoogleTest."""
    listed = subprocess.run([*program, "--gtest_list_tests"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = {}
    for line in listed.splitlines():
        if re.match(r"\S+\.$", line):
            found[(suite := line[:-1])] = []
        elif line.startswith("  "):
            found[suite].append(line.split()[0])
    return found


def ends_of(tests, output):
    """{test: how it ended}: one that crashed has neither passed nor failed."""
    ends = {match["test"]: match["end"].lower() for match in ENDED.finditer(output)}
    return {test: ends.get(test, "did not end") for test in tests}


def named(tests):
    return ", ".join(tests[:8]) + (" ..." if tests[8:] else "")


def suites(check, name, limit, chosen=None, prefix=(), label="", twice=False):
    """A row for each suite, a process each: what one leaves on the device cannot fail another."""
    program = check.program(name)
    if not program:
        return
    found = {suite: tests for suite, tests in tests_of(program).items() if not chosen or suite in chosen}
    if not found:
        check.row(label + name, "fail", "it lists no tests: without a usable GPU it has none", shlex.join(program))
    commands = {suite: [*program[:-1], *prefix, program[-1], "--gtest_filter=" + ":".join(f"{suite}.{test}" for test in tests)]
                for suite, tests in found.items()}

    def turns(suite):
        """(code, output) of a run, or of two; on fibers the second has another order of threads."""
        return [check.run(f"{label}{suite}.{turn}", commands[suite], limit, MEMRING_TWIN_SEED=str(turn))
                for turn in ((1, 2) if twice else (1,))]

    for suite, ended in check.each(turns, found):
        digests = [dict(BITS.findall(output)) for _, output in ended]
        other = sorted(test for test in digests[0] if digests[0][test] != digests[-1].get(test))
        result, detail = "pass", f"{len(found[suite])} tests" + (", the same bits twice" if twice and digests[0] else "")
        if other:
            result, detail = "fail", f"other bits when run again: {named(other)}"
        for code, output in ended:
            ends = ends_of(found[suite], output)
            wrong = [f"{test} {end}" for test, end in ends.items() if end not in ("ok", "skipped")]
            skipped = [test for test, end in ends.items() if end == "skipped"]
            if code or wrong:
                result, detail = "fail", f"{named(wrong)}; {ending(code, output)}"
            elif skipped and result == "pass":  # of another card than this
                result, detail = "skipped", f"{len(skipped)} of {len(ends)} tests, logs/ says why: {named(skipped)}"
        check.row(label + suite, result, detail, shlex.join(commands[suite]))


def instructions(check):
    suites(check, "device_tests", 20)


def operators(check):
    dry = ("RmsNorm", "Elementwise") if check.dry else None
    suites(check, "ops_cuda_tests", 60, dry, twice=True)
    if not check.dry:
        suites(check, "ops_gpu_tests", 30)


def fixtures(check):
    program = check.program("memring")
    if not program:
        return
    files = sorted((check.home / "tests/golden").glob("rmt_full.h5" if check.dry else "*.h5"))
    commands = {f"{dtype} {file.stem}": [*program, "verify", str(file), "--device.kind=cuda", f"--device.dtype={dtype}", *more]
                for dtype, more in TYPES.items() for file in files}
    for what, (code, output) in check.each(lambda what: check.run(what, commands[what], 20), commands):
        errors = ", ".join(" ".join(error) for error in re.findall(r"^  (\w+) +\S+ error (\S+),", output, re.MULTILINE))
        check.row(what, "fail" if code else "pass", errors or ending(code, output), shlex.join(commands[what]))


def sanitizer(check):
    tool = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if check.dry or not tool:
        why = "fibers have sanitizers of their own" if check.dry else "the toolkit here has none"
        check.row("compute-sanitizer", "skipped", why)
        return
    for kind in ("memcheck", "racecheck"):
        suites(check, "ops_cuda_tests", 40, SHARING, (tool, f"--tool={kind}", "--error-exitcode=9"), label=f"{kind} ")


STEPS = {"1": machine, "2": instructions, "3": operators, "4": fixtures, "6": sanitizer, "7": ceilings, "8": attention}

if __name__ == "__main__":
    sys.exit(NOT_USABLE if STEPS[sys.argv[5]](Check(*sys.argv[1:])) is False else 0)
