// What bounds the memory of this process: the host, the control groups it is in, its own limits (ulimit), and what
// Slurm has given its job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace memring {

struct MemoryLimit {
  std::string name;       ///< who set it, for messages: "ulimit -v"
  int64_t total = 0;      ///< bytes, as it was set
  int64_t available = 0;  ///< bytes that this rank can still take, where the other ranks of the host take as much
};

/// Where to look. Tests show trees of their own.
struct MemorySources {
  std::string proc = "/proc", cgroup = "/sys/fs/cgroup";
  std::function<const char*(const char*)> environment;  ///< none: getenv
};

/// Every limit that can be found out, for one of `ranks` processes on this host, which has started its threads. Page
/// cache counts as free: the kernel drops it before it refuses memory.
std::vector<MemoryLimit> memory_limits(int ranks, const MemorySources& = {});

/// The limit that counts: the one that leaves this rank the least.
MemoryLimit tightest_memory_limit(int ranks, const MemorySources& = {});

}  // namespace memring
