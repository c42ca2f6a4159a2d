// SPDX-License-Identifier: Apache-2.0
#include "base/surroundings.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

namespace memring {
namespace {

// A sanitizer may not be ready yet either.
#define MEMRING_EARLY __attribute__((no_sanitize("address", "thread", "undefined")))

// Plain data, ready before any constructor runs.
constexpr int kMostSetAside = 32;
const char* set_aside[kMostSetAside];
cpu_set_t started_on;

/// A name, also with OpenMP 5.1's endings (_ALL, _DEV). What is left alone places threads, lets them spin, or says how
/// many there shall be. Stacks: a small one crashes, and a huge one cannot be had.
MEMRING_EARLY bool may_break_a_team(const char* entry) {
  constexpr const char* kNames[] = {"OMP_THREAD_LIMIT", "OMP_DYNAMIC",     "OMP_MAX_ACTIVE_LEVELS",
                                    "OMP_STACKSIZE",    "GOMP_STACKSIZE",  "KMP_STACKSIZE",
                                    "KMP_ALL_THREADS",  "KMP_MAX_THREADS", "KMP_DEVICE_THREAD_LIMIT"};
  for (const char* name : kNames) {
    const size_t length = std::strlen(name);
    if (std::strncmp(entry, name, length) == 0 && (entry[length] == '=' || entry[length] == '_')) return true;
  }
  return false;
}

/// libgomp reads its variables when it is loaded, and nothing can be changed then: a limit of one thread leaves
/// oneDNN and us with one, whatever is asked for. So they are taken out of the environment before that. Only the
/// executable's own .preinit_array runs before the constructors of libraries (glibc; elsewhere start_threads() sees
/// what comes of it).
MEMRING_EARLY void look_around(int, char**, char** environment) {
  sched_getaffinity(0, sizeof started_on, &started_on);
  int count = 0;
  char** kept = environment;
  for (char** entry = environment; *entry; ++entry) {
    if (count < kMostSetAside && may_break_a_team(*entry))
      set_aside[count++] = *entry;
    else
      *kept++ = *entry;
  }
  *kept = nullptr;
}
__attribute__((section(".preinit_array"), used)) void (*const before_libraries)(int, char**, char**) = look_around;

}  // namespace

cpu_set_t allowed_cores() {
  constexpr std::array kBinding = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"};
  const bool bound = std::any_of(kBinding.begin(), kBinding.end(), [](const char* name) { return std::getenv(name); });
  cpu_set_t now;
  CPU_ZERO(&now);
  sched_getaffinity(0, sizeof now, &now);
  return bound && CPU_COUNT(&started_on) > 0 ? started_on : now;
}

std::vector<std::string> set_aside_variables() {
  std::vector<std::string> all;
  for (const char* entry : set_aside)
    if (entry) all.emplace_back(entry);
  return all;
}

std::string variable(std::string_view name) {
  for (const char* entry : set_aside)
    if (entry && std::string_view(entry).starts_with(name) && entry[name.size()] == '=') return entry + name.size() + 1;
  const char* value = std::getenv(std::string(name).c_str());
  return value ? value : "";
}

}  // namespace memring
