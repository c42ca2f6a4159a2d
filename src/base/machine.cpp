// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

#include "base/surroundings.h"
#include "base/system_numbers.h"

namespace memring {

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

int process_cores() {
  const cpu_set_t cores = allowed_cores();
  return std::max(1, CPU_COUNT(&cores));
}

int machine_cores() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

int64_t peak_memory() { return kib_behind("/proc/self/status", "VmHWM:").value_or(0); }

double process_seconds() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));  // behind the name, which may hold anything
  constexpr int kStartTime = 20;                                // field 22 of proc(5), the 20th from here
  std::string word;
  for (int i = 0; i < kStartTime; ++i) fields >> word;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - std::stod(word) / ticks;
}

int64_t reset_peak_memory() {
  malloc_trim(0);  // else what comes next may live in memory that the heap has kept, and shows as nothing
  std::ofstream("/proc/self/clear_refs") << 5;
  return peak_memory();
}

}  // namespace memring
