// SPDX-License-Identifier: Apache-2.0
#include "base/threads.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>

#include "base/control_groups.h"
#include "base/surroundings.h"

namespace memring {
namespace {

/// The number that a variable's value starts with (OMP_NUM_THREADS may be a list for nested teams); 0 where it has
/// none.
int number_in(const std::string& value) {
  const size_t first = std::min(value.find_first_not_of(' '), value.size());
  int number = 0;
  std::from_chars(value.data() + first, value.data() + value.size(), number);
  return std::max(number, 0);
}

int number_of(const char* name) { return number_in(variable(name)); }

/// Microseconds of time in a period of so many. 0 = no limit.
double quota_of(const ControlGroup& group) {
  double microseconds = 0, period = 0;
  if (group.version1) {
    std::ifstream(group.folder / "cpu.cfs_quota_us") >> microseconds;
    std::ifstream(group.folder / "cpu.cfs_period_us") >> period;
  } else {
    std::ifstream(group.folder / "cpu.max") >> microseconds >> period;  // "max 100000": no number
  }
  return microseconds > 0 && period > 0 ? microseconds / period : 0;
}

/// What the job has for each of `ranks` ranks of this host. 0 where no launcher tells more than this process knows.
int cores_of_a_task(int ranks) {
  if (const int task = number_of("SLURM_CPUS_PER_TASK")) return task;
  if (const int host = number_of("SLURM_CPUS_ON_NODE")) return host / ranks;
  if (variable("OMPI_COMM_WORLD_RANK").empty()) return 0;
  // mpirun itself may run on all cores of the job; it binds its ranks to some of them.
  cpu_set_t launcher;
  CPU_ZERO(&launcher);
  return sched_getaffinity(getppid(), sizeof launcher, &launcher) == 0 ? CPU_COUNT(&launcher) / ranks : 0;
}

}  // namespace

ThreadCount thread_count(int wanted, int cores) {
  if (wanted > 0) return {wanted, "device.threads", true};
  ThreadCount count{std::max(cores, 1), "cores", false};
  if (const int asked = number_of("OMP_NUM_THREADS"))
    count = {asked, "OMP_NUM_THREADS", true};
  else if (const int task = number_of("SLURM_CPUS_PER_TASK"))
    count = {task, "SLURM_CPUS_PER_TASK", false};
  const auto bound = [&](int limit, const std::string& by) {
    if (limit < 1 || count.threads <= limit) return;
    count.reason += fmt::format(" = {}, {}", count.threads, by);
    count.threads = limit;
  };
  bound(std::max(cores, 1),
        cores > 1 ? fmt::format("but {} cores for this rank", cores) : "but one core for this rank");
  bound(number_of("OMP_THREAD_LIMIT"), "at most OMP_THREAD_LIMIT");
  return count;
}

std::string idle_cores(const ThreadCount& count, int ranks) {
  // A number that somebody chose is meant, unless the job's own script contradicts it.
  if (count.chosen && number_of("SLURM_CPUS_PER_TASK") == 0) return {};
  const int cores = cores_of_a_task(ranks);
  if (cores < 2 * count.threads) return {};
  return fmt::format("the job has {} cores for each rank of this host, and {} ({}) {} them", cores,
                     count.threads == 1 ? "one thread" : fmt::format("{} threads", count.threads), count.reason,
                     count.threads == 1 ? "uses" : "use") +
         (count.chosen ? fmt::format(": set device.threads = {}", cores)
                       : ": a launcher bound the rank; start mpirun with --bind-to none, or srun with --cpu-bind=none");
}

std::string ignored_limits(const ThreadCount& count) {
  constexpr size_t kNone = std::string_view::npos;
  std::string ignored;
  for (const std::string& entry : set_aside_variables()) {
    const std::string_view name = std::string_view(entry).substr(0, entry.find('='));
    const std::string value = entry.substr(name.size() + 1);
    const bool limits = name.starts_with("OMP_DYNAMIC")             ? value.find_first_of("tT1") != std::string::npos
                        : name.starts_with("OMP_MAX_ACTIVE_LEVELS") ? number_in(value) == 0
                        : name.find("STACKSIZE") != kNone           ? false
                                                                    : number_in(value) < count.threads;
    if (limits) ignored += (ignored.empty() ? "" : ", ") + entry;
  }
  if (ignored.empty()) return {};
  return fmt::format("{} counts for nothing: {} ({}), and a smaller team would give other numbers", ignored,
                     count.threads == 1 ? "one thread computes" : fmt::format("{} threads compute", count.threads),
                     count.reason);
}

double cpu_quota() {
  double lowest = 0;
  for (const ControlGroup& group : control_groups("cpu")) {
    const double quota = quota_of(group);
    if (quota > 0) lowest = lowest > 0 ? std::min(lowest, quota) : quota;
  }
  return lowest;
}

}  // namespace memring
