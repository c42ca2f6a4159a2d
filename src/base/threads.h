// How many threads a rank computes with, and who says so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace memring {

struct ThreadCount {
  int threads = 1;
  std::string reason;   ///< "device.threads", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "cores"; and what bounded it
  bool chosen = false;  ///< by device.threads or OMP_NUM_THREADS: nobody's default
};

/// device.threads (`wanted`, 0: not given) is taken as it is. Without it OMP_NUM_THREADS counts, else
/// SLURM_CPUS_PER_TASK, else the rank's cores; then never more than `cores`, those that this rank has of its host, nor
/// than OMP_THREAD_LIMIT.
ThreadCount thread_count(int wanted, int cores);

/// A warning where half of the cores or more that the job has for each of `ranks` ranks of this host are idle: those of
/// SLURM_CPUS_PER_TASK, else what Slurm or mpirun has on this host, over the ranks. Empty where all is well.
std::string idle_cores(const ThreadCount&, int ranks);

/// A warning about variables that would have made a smaller team (see base/surroundings.h), and do not. Empty where
/// there are none.
std::string ignored_limits(const ThreadCount&);

/// Cores' worth of time that the container may use; 0 = no limit.
double cpu_quota();

}  // namespace memring
