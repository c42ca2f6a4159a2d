// A launcher that starts N processes of which MPI sees one each (srun without --mpi=pmix, the mpiexec of another MPI):
// N times the same run, in one directory. Found by what launchers leave in the environment.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace memring {

class Session;

struct SeparateStart {
  int64_t started = 0;  ///< processes, as far as this one can tell
  bool speaks = true;   ///< it is the first of them, or does not know
  std::string text() const;
  std::string hint() const;
};

/// nullopt: MPI sees all that was started, or there is no sign that more was. A batch script that asks for N tasks and
/// starts memring plainly is no such sign, and an mpirun inside a step of Slurm answers for its own ranks.
std::optional<SeparateStart> separate_start(int ranks,
                                            const std::function<const char*(const char*)>& environment = nullptr);

/// Throws Error(Usage) for one. Of the N processes the first speaks; the others end with the same code.
void refuse_separate_start(const Session&);

}  // namespace memring
