"""With device.threads given, a run has the same bits in every environment; without, the job decides how many threads compute.

SPDX-License-Identifier: Apache-2.0
"""
import os
import resource
import subprocess

import runs

# Wide enough that operators and products share their work among the threads.
WIDE = {"model__dim": 64, "segment__length": 96, "data__length": 256, "run__steps": 3, "device__threads": 2}

# What a job script, a module or a cluster's profile may set; with some of these a team is smaller than it was asked for.
ENVIRONMENTS = {
    "limits": {"OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "true", "OMP_MAX_ACTIVE_LEVELS": "0", "OMP_NUM_THREADS": "1",
               "OMP_STACKSIZE": "16k", "GOMP_STACKSIZE": "1", "KMP_STACKSIZE": "16k", "KMP_ALL_THREADS": "1"},
    "places": {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "7,2",
               "MALLOC_PERTURB_": "165", "MALLOC_ARENA_MAX": "1"},
    "nonsense": {"OMP_NUM_THREADS": "many", "OMP_SCHEDULE": "guided,1", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0",
                 "LC_ALL": "de_DE.UTF-8", "LANG": "xx_YY", "MALLOC_PERTURB_": "90", "MALLOC_MMAP_THRESHOLD_": "4096"},
}


def on_one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def on_one_core_with_small_stacks():
    on_one_core()
    resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, resource.getrlimit(resource.RLIMIT_STACK)[1]))


class Environment(runs.RunTest):
    def train_in(self, directory, variables, prepare=None, **keys):
        arguments = runs.command(*self.train_arguments(directory, **keys))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "SLURM_"))} | variables
        result = subprocess.run(arguments, env=environment, preexec_fn=prepare, capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(result.returncode, 0, f"{variables}\n{result.stdout}{result.stderr}")
        return result

    def assert_same_run(self, one, two, about):
        self.assertEqual(len(runs.losses(one)), WIDE["run__steps"])
        self.assert_same_losses(one, two, about)
        self.assert_same_tensors(runs.checkpoints(one)[-1], runs.checkpoints(two)[-1], about)

    def test_no_environment_changes_a_bit(self):
        plain = self.folder / "plain"
        self.train_in(plain, {}, **WIDE)
        cases = [(about, variables, None) for about, variables in ENVIRONMENTS.items()]
        cases.append(("one core, small stacks", {}, on_one_core_with_small_stacks))
        for number, (about, variables, prepare) in enumerate(cases):
            with self.subTest(about):
                directory = self.folder / f"environment-{number}"
                result = self.train_in(directory, variables, prepare, **WIDE)
                self.assertRegex(result.stdout, r"(?m)^compute +cpu, 2 threads a rank \(device\.threads\), ")
                self.assert_same_run(plain, directory, about)

    def test_products_in_bf16_do_not_see_a_limit_either(self):
        plain, limited = self.folder / "plain", self.folder / "limited"
        self.train_in(plain, {}, device__dtype="bf16", **WIDE)
        result = self.train_in(limited, {"OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "true"}, device__dtype="bf16", **WIDE)
        self.assert_same_run(plain, limited, "bf16")
        self.assertIn("memring: warning: OMP_THREAD_LIMIT=1, OMP_DYNAMIC=true counts for nothing: 2 threads compute (device.threads)",
                      result.stderr.replace("OMP_DYNAMIC=true, OMP_THREAD_LIMIT=1", "OMP_THREAD_LIMIT=1, OMP_DYNAMIC=true"))

    def test_the_job_says_how_many_threads_compute(self):
        cases = (({"OMP_NUM_THREADS": "1"}, None, r"1 thread a rank \(OMP_NUM_THREADS\)"),
                 ({"OMP_PROC_BIND": "true"}, None, rf"{len(os.sched_getaffinity(0))} threads? a rank \(cores\)"),
                 ({"SLURM_CPUS_PER_TASK": "4000"}, on_one_core, r"1 thread a rank \(SLURM_CPUS_PER_TASK = 4000, but one core for this rank\)"))
        for number, (variables, prepare, told) in enumerate(cases):
            with self.subTest(variables):
                result = self.train_in(self.folder / str(number), variables, prepare, device__threads=0, run__steps=1)
                self.assertRegex(result.stdout, rf"(?m)^compute +cpu, {told}, ")
                self.assertEqual("warning" in result.stderr, "SLURM_CPUS_PER_TASK" in variables, result.stderr)

    def test_half_a_job_idle_is_warned_of(self):
        task = {"SLURM_CPUS_PER_TASK": "2"}
        idle = "the job has 2 cores for each rank of this host, and one thread ({}) uses them"
        result = self.train_in(self.folder / "chosen", task, device__threads=1, run__steps=1)
        self.assertIn(idle.format("device.threads"), result.stderr)
        result = subprocess.run(runs.command("doctor"), env={**os.environ, **task, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                                timeout=60, check=False)
        self.assertIn(idle.format("OMP_NUM_THREADS"), result.stdout)


if __name__ == "__main__":
    runs.main()
