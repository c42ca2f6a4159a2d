// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace memring {
namespace {

/// The number behind `key` in a /proc file of "key: 123 kB" lines, in bytes; 0 when it is not there.
int64_t proc_bytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string word; file >> word;)
    if (word == key) {
      int64_t kib = 0;
      file >> kib;
      return kib * 1024;
    }
  return 0;
}

/// A cgroup file that holds one number, or "max"; a huge number when there is none.
int64_t cgroup_number(const char* path) {
  int64_t value = 0;
  std::ifstream file(path);
  return file >> value ? value : std::numeric_limits<int64_t>::max();
}

}  // namespace

int process_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

int machine_cores() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

int64_t available_memory() {
  const int64_t machine = proc_bytes("/proc/meminfo", "MemAvailable:");
  const int64_t limit = cgroup_number("/sys/fs/cgroup/memory.max");
  if (limit == std::numeric_limits<int64_t>::max()) return machine;
  const int64_t used = cgroup_number("/sys/fs/cgroup/memory.current");
  return std::min(machine, std::max<int64_t>(0, limit - used));
}

int64_t peak_memory() { return proc_bytes("/proc/self/status", "VmHWM:"); }

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

}  // namespace memring
