// SPDX-License-Identifier: Apache-2.0
#include "base/memory_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/control_groups.h"
#include "base/system_numbers.h"

namespace memring {
namespace {

namespace fs = std::filesystem;
using Bytes = std::optional<int64_t>;

constexpr int64_t kMiB = int64_t{1} << 20;

// Host
// ------------------------------------------------------------------------------------------------------------------

void add_host(std::vector<MemoryLimit>& limits, int ranks, const fs::path& proc) {
  const fs::path info = proc / "meminfo";
  const Bytes total = kib_behind(info, "MemTotal:"), available = kib_behind(info, "MemAvailable:");
  if (total && available) limits.push_back({"the host's free memory", *total, *available / ranks});
  if (number_in(proc / "sys/vm/overcommit_memory") != 2) return;  // else promises count, whether touched or not
  const Bytes promise = kib_behind(info, "CommitLimit:");
  if (promise)
    limits.push_back({"the host's CommitLimit (vm.overcommit_memory = 2)", *promise,
                      (*promise - kib_behind(info, "Committed_AS:").value_or(0)) / ranks});
}

// Control groups
// ------------------------------------------------------------------------------------------------------------------

/// How a version of control groups names what we ask.
struct GroupFiles {
  std::vector<const char*> limits;
  const char* used;
  std::vector<const char*> reclaimable;  ///< in memory.stat
  const char* inherited;                 ///< in memory.stat: the smallest limit of the parents, seen here or not
};
const GroupFiles kVersion2{
    {"memory.max", "memory.high"}, "memory.current", {"inactive_file ", "active_file ", "slab_reclaimable "}, nullptr};
const GroupFiles kVersion1{{"memory.limit_in_bytes"},
                           "memory.usage_in_bytes",
                           {"total_inactive_file ", "total_active_file "},
                           "hierarchical_memory_limit "};

void add_group(std::vector<MemoryLimit>& limits, int ranks, const ControlGroup& group, const GroupFiles& files) {
  const fs::path& folder = group.folder;
  int64_t used = number_in(folder / files.used).value_or(0);
  for (const char* key : files.reclaimable) used -= number_behind(folder / "memory.stat", key).value_or(0);
  const auto add = [&](const char* file, Bytes limit) {
    if (limit)
      limits.push_back({fmt::format("control group {} ({})", group.name, file), *limit,
                        (*limit - std::max<int64_t>(used, 0)) / ranks});
  };
  for (const char* file : files.limits) add(file, number_in(folder / file));
  if (files.inherited) add("a parent's limit", number_behind(folder / "memory.stat", files.inherited));
}

void add_control_groups(std::vector<MemoryLimit>& limits, int ranks, const MemorySources& sources) {
  for (const ControlGroup& group : control_groups("memory", sources.proc, sources.cgroup))
    add_group(limits, ranks, group, group.version1 ? kVersion1 : kVersion2);
}

// This process
// ------------------------------------------------------------------------------------------------------------------

void add_own_limits(std::vector<MemoryLimit>& limits, const fs::path& proc) {
  const fs::path set = proc / "self/limits", status = proc / "self/status";
  // What is taken besides the plan: the stack of the thread that writes checkpoints, and what libraries work with.
  constexpr int64_t kUsualStack = 8 * kMiB, kLibraries = 16 * kMiB;
  const int64_t stack = number_behind(set, "Max stack size").value_or(kUsualStack);
  const int64_t besides = stack + kLibraries;
  const auto add = [&](const char* name, const char* limit, const char* used) {
    if (const Bytes bytes = number_behind(set, limit))
      limits.push_back({name, *bytes, *bytes - kib_behind(status, used).value_or(0) - besides});
  };
  add("ulimit -v", "Max address space", "VmSize:");
  add("ulimit -d", "Max data size", "VmData:");
}

// Slurm
// ------------------------------------------------------------------------------------------------------------------

// Slurm's numbers are MiB; 0 is all that the host has. Where it enforces them, by control groups or by looking, is not
// for us to know.
void add_slurm(std::vector<MemoryLimit>& limits, int ranks, const MemorySources& sources) {
  const auto number = [&](const char* name) -> int64_t {
    const char* text = sources.environment ? sources.environment(name) : std::getenv(name);
    return text ? std::atoll(text) : 0;  // "4(x2)" is 4 a node
  };
  const auto first_of = [&](const char* name, const char* otherwise) {
    const int64_t value = number(name);
    return value > 0 ? value : number(otherwise);
  };
  const int64_t own = kib_behind(fs::path(sources.proc) / "self/status", "RssAnon:").value_or(0);
  const auto add = [&](const char* name, int64_t units) {
    const int64_t total = number(name) * units * kMiB;
    if (total > 0) limits.push_back({name, total, total / ranks - own});
  };
  add("SLURM_MEM_PER_NODE", 1);
  add("SLURM_MEM_PER_CPU", first_of("SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE"));
  add("SLURM_MEM_PER_GPU", number("SLURM_GPUS_ON_NODE"));
}

}  // namespace

std::vector<MemoryLimit> memory_limits(int ranks, const MemorySources& sources) {
  std::vector<MemoryLimit> limits;
  add_host(limits, ranks, sources.proc);
  add_control_groups(limits, ranks, sources);
  add_own_limits(limits, sources.proc);
  add_slurm(limits, ranks, sources);
  for (MemoryLimit& limit : limits) limit.available = std::max<int64_t>(limit.available, 0);
  return limits;
}

MemoryLimit tightest_memory_limit(int ranks, const MemorySources& sources) {
  const std::vector<MemoryLimit> limits = memory_limits(ranks, sources);
  const auto least = std::min_element(limits.begin(), limits.end(), [](const MemoryLimit& a, const MemoryLimit& b) {
    return a.available < b.available;
  });
  constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max() >> 20;  // so that ranks can be counted
  return least == limits.end() ? MemoryLimit{"nothing that is known", kUnknown, kUnknown} : *least;
}

}  // namespace memring
