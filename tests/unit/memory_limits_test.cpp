// What bounds memory, read from trees of /proc and /sys/fs/cgroup as hosts, containers and jobs have them.
// SPDX-License-Identifier: Apache-2.0
#include "base/memory_limits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "engine/engine.h"
#include "files.h"

namespace memring {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

/// A machine with 8000 MiB, 6000 of them free, whose files and environment a test adds to.
class Machine {
 public:
  Machine() {
    file("proc/meminfo", "MemTotal: 8192000 kB\nMemFree: 1000 kB\nMemAvailable: 6144000 kB\n");
    file("proc/self/cgroup", "0::/\n");
    file("proc/self/status", "Name:\tmemring\nVmSize:\t 102400 kB\nRssAnon:\t 20480 kB\nVmData:\t 51200 kB\n");
  }
  Machine& file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
    return *this;
  }
  /// Limits and use of a control group in MiB, of which `cache` is page cache.
  Machine& group(const std::string& path, const std::string& max, int64_t used, int64_t cache) {
    return file(path + "/memory.max", max + "\n")
        .file(path + "/memory.high", "max\n")
        .file(path + "/memory.current", std::to_string(used * kMiB) + "\n")
        .file(path + "/memory.stat", "anon 1\nfile 99\ninactive_file " + std::to_string(cache * kMiB - 4096) +
                                         "\nactive_file 2048\nslab_reclaimable 2048\nworkingset_activate_file 1\n");
  }
  Machine& group1(const std::string& path, int64_t limit, int64_t used, int64_t cache, int64_t inherited) {
    return file(path + "/memory.limit_in_bytes", std::to_string(limit) + "\n")
        .file(path + "/memory.usage_in_bytes", std::to_string(used * kMiB) + "\n")
        .file(path + "/memory.stat", "cache 7\ninactive_file 5\ntotal_inactive_file " + std::to_string(cache * kMiB) +
                                         "\ntotal_active_file 0\nhierarchical_memory_limit " +
                                         std::to_string(inherited) + "\n");
  }
  Machine& environment(const std::string& name, const std::string& value) {
    environment_[name] = value;
    return *this;
  }
  Machine& limits(const std::string& address_space, const std::string& data) {
    return file("proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n"
                "Max data size             " +
                    data +
                    "            unlimited            bytes     \n"
                    "Max stack size            8388608              unlimited            bytes     \n"
                    "Max address space         " +
                    address_space + "            unlimited            bytes     \n");
  }
  std::vector<MemoryLimit> all(int ranks = 1) const { return memory_limits(ranks, sources()); }
  MemoryLimit tightest(int ranks = 1) const { return tightest_memory_limit(ranks, sources()); }

 private:
  MemorySources sources() const {
    return {folder_ / "proc", folder_ / "cgroup", [this](const char* name) -> const char* {
              const auto found = environment_.find(name);
              return found == environment_.end() ? nullptr : found->second.c_str();
            }};
  }
  test::TemporaryFolder folder_;
  std::map<std::string, std::string> environment_;
};

void expect_limit(const MemoryLimit& found, const std::string& name, int64_t total, int64_t available) {
  EXPECT_EQ(found.name, name);
  EXPECT_EQ(found.total, total * kMiB) << name;
  EXPECT_EQ(found.available, available * kMiB) << name;
}

TEST(MemoryLimits, AHostWithoutLimitsHasItsFreeMemoryAndItsRanksShareIt) {
  const Machine machine;
  expect_limit(machine.tightest(), "the host's free memory", 8000, 6000);
  expect_limit(machine.tightest(4), "the host's free memory", 8000, 1500);
}

TEST(MemoryLimits, NothingThatCanBeReadIsNoLimit) {
  EXPECT_GT(tightest_memory_limit(1, {"/nowhere", "/nowhere", [](const char*) { return nullptr; }}).available,
            int64_t{1} << 40);
}

TEST(MemoryLimits, PageCacheOfAContainerCountsAsFree) {
  Machine machine;
  machine.group("cgroup", std::to_string(500 * kMiB), 490, 400);
  expect_limit(machine.tightest(), "control group / (memory.max)", 500, 410);
}

TEST(MemoryLimits, OfTheJobsGroupAndItsParentsTheTightestCounts) {
  Machine machine;
  machine.file("proc/self/cgroup", "0::/slurm/job_7/step_0/task_0\n")
      .group("cgroup/slurm", "max", 5000, 0)
      .group("cgroup/slurm/job_7", std::to_string(600 * kMiB), 100, 0)
      .group("cgroup/slurm/job_7/step_0", std::to_string(700 * kMiB), 50, 0)
      .group("cgroup/slurm/job_7/step_0/task_0", "max", 50, 0);
  expect_limit(machine.tightest(), "control group /slurm/job_7 (memory.max)", 600, 500);
  expect_limit(machine.tightest(5), "control group /slurm/job_7 (memory.max)", 600, 100);
  machine.file("cgroup/slurm/job_7/step_0/memory.high", std::to_string(300 * kMiB));  // beyond it all is slow
  expect_limit(machine.tightest(), "control group /slurm/job_7/step_0 (memory.high)", 300, 250);
}

TEST(MemoryLimits, OfVersion1TheMemoryHierarchyCounts) {
  constexpr int64_t kNone = 9223372036854771712;  // what the kernel says where there is no limit
  Machine machine;
  machine.file("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/slurm/uid_0/job_7\n0::/init.scope\n")
      .group1("cgroup/memory", kNone, 7000, 0, kNone)
      .group1("cgroup/memory/slurm/uid_0", kNone, 100, 0, kNone)
      .group1("cgroup/memory/slurm/uid_0/job_7", kNone, 100, 0, kNone);
  expect_limit(machine.tightest(), "the host's free memory", 8000, 6000);
  machine.group1("cgroup/memory/slurm/uid_0/job_7", 600 * kMiB, 590, 500, 600 * kMiB);
  expect_limit(machine.tightest(), "control group /slurm/uid_0/job_7 (memory.limit_in_bytes)", 600, 510);
}

TEST(MemoryLimits, AContainerOfVersion1SeesItsGroupAsTheRootAndItsParentsLimitInTheStatistics) {
  Machine machine;
  machine.file("proc/self/cgroup", "4:memory:/docker/0123abc/inner\n")
      .group1("cgroup/memory", 400 * kMiB, 100, 0, 300 * kMiB)
      .group1("cgroup/memory/inner", 350 * kMiB, 60, 0, 300 * kMiB);
  expect_limit(machine.tightest(), "control group / (a parent's limit)", 300, 200);
  const auto all = machine.all();
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const MemoryLimit& limit) {
    return limit.name == "control group /inner (memory.limit_in_bytes)" && limit.available == 290 * kMiB;
  }));
}

TEST(MemoryLimits, AProcessOutsideItsNamespacesRootStillHasTheGroupsThatItSees) {
  Machine machine;
  machine.file("proc/self/cgroup", "0::/../../elsewhere\n").group("cgroup", std::to_string(500 * kMiB), 0, 0);
  machine.group("cgroup/elsewhere", std::to_string(400 * kMiB), 0, 0);
  expect_limit(machine.tightest(), "control group /elsewhere (memory.max)", 400, 400);
}

TEST(MemoryLimits, MoreUsedThanAllowedLeavesNothing) {
  Machine machine;
  machine.group("cgroup", std::to_string(500 * kMiB), 600, 1);
  expect_limit(machine.tightest(), "control group / (memory.max)", 500, 0);
}

TEST(MemoryLimits, UlimitsAreOfEachProcessWithWhatItHasTaken) {
  Machine machine;
  machine.limits(std::to_string(1000 * kMiB), "unlimited ");
  expect_limit(machine.tightest(), "ulimit -v", 1000, 1000 - 100 - 8 - 16);
  expect_limit(machine.tightest(4), "ulimit -v", 1000, 1000 - 100 - 8 - 16);
  machine.limits("unlimited ", std::to_string(500 * kMiB));
  expect_limit(machine.tightest(), "ulimit -d", 500, 500 - 50 - 8 - 16);
  machine.limits("unlimited ", "unlimited ");
  expect_limit(machine.tightest(), "the host's free memory", 8000, 6000);
}

TEST(MemoryLimits, SlurmsNumbersAreMebibytesOfANodeOfACpuOrOfAGpu) {
  Machine node, cpu, job, gpu, whole;
  node.environment("SLURM_MEM_PER_NODE", "600");
  expect_limit(node.tightest(2), "SLURM_MEM_PER_NODE", 600, 300 - 20);
  cpu.environment("SLURM_MEM_PER_CPU", "200").environment("SLURM_CPUS_ON_NODE", "4");
  expect_limit(cpu.tightest(), "SLURM_MEM_PER_CPU", 800, 800 - 20);
  job.environment("SLURM_MEM_PER_CPU", "200").environment("SLURM_JOB_CPUS_PER_NODE", "2(x3)");
  expect_limit(job.tightest(), "SLURM_MEM_PER_CPU", 400, 400 - 20);
  gpu.environment("SLURM_MEM_PER_GPU", "900").environment("SLURM_GPUS_ON_NODE", "2");
  expect_limit(gpu.tightest(), "SLURM_MEM_PER_GPU", 1800, 1800 - 20);
  whole.environment("SLURM_MEM_PER_NODE", "0");  // all that the node has
  expect_limit(whole.tightest(), "the host's free memory", 8000, 6000);
}

TEST(MemoryLimits, WherePromisesCountTheHostsCommitLimitDoesToo) {
  Machine machine;
  machine.file("proc/sys/vm/overcommit_memory", "2\n")
      .file("proc/meminfo",
            "MemTotal: 8192000 kB\nMemAvailable: 6144000 kB\nCommitLimit: 2048000 kB\n"
            "Committed_AS: 1024000 kB\n");
  expect_limit(machine.tightest(), "the host's CommitLimit (vm.overcommit_memory = 2)", 2000, 1000);
  machine.file("proc/sys/vm/overcommit_memory", "0\n");
  expect_limit(machine.tightest(), "the host's free memory", 8000, 6000);
}

// So the ranks of a device, and what each may take of it, are told by the ranks of the host.
TEST(DeviceShare, DealsTheDevicesOfAHostToItsRanksInTurn) {
  const auto expect = [](int rank, int ranks, int devices, int ordinal, int sharing) {
    const DeviceShare share = device_share({.rank = rank, .ranks = ranks}, devices);
    EXPECT_EQ(share.ordinal, ordinal) << "rank " << rank << " of " << ranks << ", " << devices << " devices";
    EXPECT_EQ(share.ranks, sharing) << "rank " << rank << " of " << ranks << ", " << devices << " devices";
  };
  expect(0, 1, 1, 0, 1);
  expect(2, 3, 1, 0, 3);
  for (int rank = 0; rank < 5; ++rank) expect(rank, 5, 2, rank % 2, rank % 2 == 0 ? 3 : 2);
  for (int rank = 0; rank < 4; ++rank) expect(rank, 4, 8, rank, 1);
}

}  // namespace
}  // namespace memring
