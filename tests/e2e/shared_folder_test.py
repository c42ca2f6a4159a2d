"""Hosts that do not share the run directory are found before the first step. One machine plays two: a rank gets a host name
of its own, and its own mounts.

SPDX-License-Identifier: Apache-2.0
"""
import subprocess
import unittest

import jobs
import runs

# The last line becomes the rank; $1 is the run directory.
OTHER_HOST = 'hostname node2 && {mounts} && shift && exec "$@"'
UNSHARED = ["unshare", "--uts", "--mount", "sh", "-ec"]


class SharedFolder(jobs.JobTest):
    def setUp(self):
        super().setUp()
        trial = subprocess.run([*UNSHARED, f"hostname node2 && mount -t tmpfs memring-test {self.temporary}"], capture_output=True, check=False)
        if trial.returncode != 0:
            raise unittest.SkipTest("no mounts and host names of our own here (root can make them, where it may)")
        self.directory = self.folder / "run"

    def train_on_two_hosts(self, mounts, code, **keys):
        """Rank 1 runs on "node2", where `mounts` has been done."""
        rank = runs.command(*self.train_arguments(self.directory, mesh__segment=2, run__steps=2, **keys))
        other = [*UNSHARED, OTHER_HOST.format(mounts=mounts), "sh", self.directory, *rank]
        result = subprocess.run([str(part) for part in [runs.MPIEXEC, "-n", 1, *rank, ":", "-n", 1, *other]],
                                capture_output=True, text=True, timeout=100, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertEqual([path.name for path in self.directory.iterdir() if path.name.startswith(".")], [], "marks stay")
        return result

    def test_a_shared_folder_is_seen_at_once(self):
        self.train_on_two_hosts("true", 0)
        self.assert_saved_and_intact(self.directory)

    def test_another_folder_on_one_host_is_refused_with_hosts_and_path(self):
        self.directory.mkdir()
        result = self.train_on_two_hosts('mount -t tmpfs memring-test "$1"', 65, run__wait=1)
        self.assert_one_message(result.stderr, rf"rank 0 of 2 \(\S+\): run\.dir = {self.directory} is not the same folder on all hosts: "
                                               r"(\S+) does not see what node2 wrote; node2 does not see what \S+ wrote \(asked for 1 s\)")
        self.assertEqual([path.name for path in self.directory.iterdir()], ["lock"])
        runs.record_fault("H5", "the run directory is another folder on one of two hosts", 1, "65 before the first step, with hosts and folder")

    def test_a_folder_that_is_not_there_on_one_host_is_refused(self):
        self.directory = self.folder / "place" / "run"
        self.directory.parent.mkdir()
        result = self.train_on_two_hosts(f"mount -t tmpfs memring-test {self.directory.parent}", 65, run__wait=1)
        self.assertIn("No such file or directory", result.stderr)

    def test_a_folder_that_comes_late_is_waited_for(self):
        """As under an automounter, or where a network file system remembers what was there before."""
        self.directory.mkdir()
        late = '(mkdir "$1.b" && mount --bind "$1" "$1.b" && mount -t tmpfs memring-test "$1" && (sleep 2; mount --bind "$1.b" "$1") &)'
        self.train_on_two_hosts(f"{late}; sleep 0.5", 0, run__wait=30)
        self.assert_saved_and_intact(self.directory)


if __name__ == "__main__":
    runs.main()
