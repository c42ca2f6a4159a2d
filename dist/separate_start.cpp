// SPDX-License-Identifier: Apache-2.0
#include "dist/separate_start.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "dist/session.h"

namespace memring {

std::string SeparateStart::text() const {
  return fmt::format("the launcher started {} processes, and MPI sees 1: each would do the whole work", started);
}

std::string SeparateStart::hint() const {
  return "Start with mpirun or srun --mpi=pmix. For separate runs on purpose, unset SLURM_PROCID, "
         "SLURM_STEP_NUM_TASKS and PMI_SIZE in each.";
}

std::optional<SeparateStart> separate_start(int ranks, const std::function<const char*(const char*)>& environment) {
  const auto number = [&](const char* name) -> int64_t {
    const char* text = environment ? environment(name) : std::getenv(name);
    return text ? std::atoll(text) : -1;
  };
  if (ranks > 1 || number("OMPI_COMM_WORLD_SIZE") > 0) return std::nullopt;
  const int64_t place = std::max(number("SLURM_PROCID"), number("PMI_RANK"));
  const int64_t counted = std::max(number("SLURM_STEP_NUM_TASKS"), number("PMI_SIZE"));
  const int64_t started = std::max(counted, number("SLURM_PROCID") + 1);
  if (started <= 1) return std::nullopt;
  return SeparateStart{started, place <= 0 || counted <= 1};
}

void refuse_separate_start(const Session& session) {
  const auto found = separate_start(session.size());
  if (!found) return;
  if (!found->speaks) std::_Exit(static_cast<int>(ExitCode::Usage));
  throw Error(ExitCode::Usage, found->text(), found->hint());
}

}  // namespace memring
