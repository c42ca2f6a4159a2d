"""What the machine, its scheduler or its launcher does not give: memory, threads, folders, ranks that know each other.

A limit or a permission is told as what it is, with the code of what the system refuses (74) or of what was asked for (2); never
as a fault of the program. Usage: see mistakes.py.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import mistakes
from mistakes import GOLDEN, io, train, usage

GIB = 1 << 30
STEP = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "3"}  # the first of three that srun has started
SEPARATE = "the launcher started 3 processes, and MPI sees 1", "mpirun or srun --mpi=pmix"
LARGE = "--model.dim=2048 --model.layers=8"  # some GiB

MEMORY = [
    train("plan beyond ulimit -v", LARGE, 2, "this run needs", "ulimit -v allows", limits={resource.RLIMIT_AS: GIB}),
    train("plan beyond ulimit -d", LARGE, 2, "ulimit -d allows", limits={resource.RLIMIT_DATA: GIB}),
    train("plan beyond the job's memory of a node", LARGE, 2, "SLURM_MEM_PER_NODE allows",
          environment={"SLURM_MEM_PER_NODE": "600"}),
    train("plan beyond the job's memory of a CPU", LARGE, 2, "SLURM_MEM_PER_CPU allows",
          environment={"SLURM_MEM_PER_CPU": "300", "SLURM_CPUS_ON_NODE": "2"}),
    usage("plan of eval", ["eval", "done", "--device.memory=1k"], "device.memory allows 0.0 MiB"),
    usage("plan of verify", ["verify", str(GOLDEN / "llama_mha.h5"), "--device.memory=1k"], "device.memory allows 0.0 MiB"),
]

FOLDERS = [
    io("run in a closed folder", ["train", "base.ini", "--run.dir=closed/run"], "closed/run", "Permission denied", nobody=True),
    io("configuration in a closed folder", ["train", "closed/run.ini"], "closed/run.ini", "Permission denied", nobody=True),
    io("eval of a closed folder", ["eval", "closed"], "closed/", "Permission denied", nobody=True),
    io("eval in a closed folder", ["eval", "closed/run"], "closed/run", "Permission denied", nobody=True),
    io("inspect of a closed folder", ["inspect", "closed"], "closed", "Permission denied", nobody=True),
    io("inspect in a closed folder", ["inspect", "closed/run"], "closed/run", "Permission denied", nobody=True),
]

STARTS = [
    usage("three starts of train", ["train", "base.ini", "--run.dir=new"], *SEPARATE, environment=STEP),
    usage("three starts of eval", ["eval", "done"], *SEPARATE, environment=STEP),
    usage("three starts of verify", ["verify", str(GOLDEN / "llama_mha.h5")], *SEPARATE, environment=STEP),
    usage("starts by another MPI", ["train", "base.ini", "--run.dir=new"], *SEPARATE,
          environment={"PMI_RANK": "0", "PMI_SIZE": "3"}),
]


def limited(arguments, limits, nobody=False):
    mistake = mistakes.Mistake("", arguments, 0, [], limits=limits, nobody=nobody)
    return mistakes.run(arguments, preexec_fn=mistake.prepare)


def late_faults():
    """Memory that is refused after all: the start lines have told by then what the run is."""
    result = limited(["train", "base.ini", "--run.dir=late", "--device.memory=100G", *LARGE.split()],
                     {resource.RLIMIT_AS: GIB})
    if result.returncode != 74 or "out of memory: " not in result.stderr or "ulimit -v, 1024.0 MiB" not in result.stderr:
        yield f"exit code {result.returncode}, {result.stderr}"
    for start in ("ranks ", "model ", "memory ", "limit      102400.0 MiB a rank on"):
        if "\n" + start not in result.stdout:
            yield f"no line '{start}': {result.stdout}"


def fitting_faults():
    """What the plan accepts under ulimit -v also fits, with its threads and its checkpoints."""
    result = limited(["train", "base.ini", "--run.dir=fits", "--device.threads=2"], {resource.RLIMIT_AS: GIB})
    if result.returncode != 0 or "(ulimit -v)" not in result.stdout:
        yield f"exit code {result.returncode}, {result.stdout} {result.stderr}"


def thread_faults():
    """Threads beyond ulimit -u, which binds everyone but root."""
    result = limited(["train", "base.ini", "--run.dir=open/threads", "--device.threads=2000"], {resource.RLIMIT_NPROC: 1000},
                     nobody=True)
    if result.returncode != 74 or "2000 threads were to compute" not in result.stderr or "ulimit -u" not in result.stderr:
        yield f"exit code {result.returncode}, {result.stderr}"
    if mistakes.ACCIDENT.search(result.stderr):
        yield f"the message is that of an accident: {result.stderr}"


def start_faults():
    """Of N starts the first speaks; what a batch script or an mpirun inside a step has is no sign of more."""
    result = mistakes.run(["train", "base.ini", "--run.dir=new"], env={**os.environ, **STEP, "SLURM_PROCID": "1"})
    if result.returncode != 2 or result.stderr or result.stdout:
        yield f"the second of three: {result.returncode} {result.stdout}{result.stderr}"
    result = mistakes.run(["train", "base.ini", "--run.dir=batch"], env={**os.environ, "SLURM_NTASKS": "3"})
    if result.returncode != 0:
        yield f"in a batch script of three tasks: {result.returncode} {result.stderr}"
    result = subprocess.run([mistakes.MPIEXEC, "-n", "1", mistakes.MEMRING, "train", "base.ini", "--run.dir=inside"],
                            env={**os.environ, **STEP}, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        yield f"mpirun inside a step: {result.returncode} {result.stderr}"


def doctor_faults():
    """Doctor says which limit counts, and warns of N starts."""
    result = mistakes.run(["doctor"], env={**os.environ, **STEP, "SLURM_MEM_PER_NODE": "600"})
    for part in ("memory 0.6 GiB (", "available: SLURM_MEM_PER_NODE)", *SEPARATE):
        if result.returncode != 0 or part not in result.stdout:
            yield f"no '{part}': {result.returncode} {result.stdout}"


def rank_faults():
    """Ranks without sequences are warned of; every host is named, with its ranks."""
    result = mistakes.run(["train", "base.ini", "--run.dir=idle"], ranks=3)
    if result.returncode != 0 or "2 sequences on a data axis of 3 ranks: 1 of 3 ranks have no work" not in result.stderr:
        yield f"{result.returncode} {result.stderr}"
    host = socket.gethostname().split(".")[0]
    if f"= 3 x 1 x 1, 3 on {host}\n" not in result.stdout:
        yield f"the ranks line does not name {host}: {result.stdout}"
    start = json.loads(Path("idle/metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    if start["hosts"] != [{"name": host, "ranks": 3}]:
        yield f"the log's hosts: {start['hosts']}"


def prepare():
    mistakes.trained("done")
    for name, mode in (("closed", 0o700), ("open", 0o777)):
        os.makedirs(name)
        os.chmod(name, mode if os.getuid() == 0 or name == "open" else 0)


def check(report):
    prepare()
    for table in (MEMORY, FOLDERS, STARTS):
        report.mistakes(table)
    cases = {"memory refused after the start lines": late_faults, "a plan that fits ulimit -v": fitting_faults,
             "one of three starts": start_faults, "doctor in a job": doctor_faults, "ranks and hosts": rank_faults}
    if os.getuid() == 0:
        cases["threads beyond ulimit -u"] = thread_faults
    for name, faults in cases.items():
        report.case(name, faults())


if __name__ == "__main__":
    sys.exit(mistakes.main(check, "H5", "limits of memory and threads, closed folders, N starts of one rank each",
                           "one message with the limit or the folder and a remedy, exit code 2 or 74, nothing on disk touched"))
