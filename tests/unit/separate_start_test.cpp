// N starts of which MPI sees one each, told from what launchers leave in the environment.
// SPDX-License-Identifier: Apache-2.0
#include "dist/separate_start.h"

#include <gtest/gtest.h>

#include <map>

namespace memring {
namespace {

std::optional<SeparateStart> start(const std::map<std::string, const char*>& environment, int ranks = 1) {
  return separate_start(ranks, [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second;
  });
}

TEST(SeparateStart, IsToldFromStepsOfSlurmAndFromOtherMpis) {
  const auto first = start({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "3"}, {"SLURM_NTASKS", "3"}});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->started, 3);
  EXPECT_TRUE(first->speaks);
  EXPECT_NE(first->text().find("started 3 processes, and MPI sees 1"), std::string::npos) << first->text();
  const auto second = start({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}});
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->speaks);
  ASSERT_TRUE(start({{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}));
  EXPECT_FALSE(start({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}})->speaks);
  // Without a count no other process is known to speak.
  ASSERT_TRUE(start({{"SLURM_PROCID", "2"}}));
  EXPECT_TRUE(start({{"SLURM_PROCID", "2"}})->speaks);
}

TEST(SeparateStart, IsNoneOfWhatIsMeant) {
  EXPECT_FALSE(start({}));
  EXPECT_FALSE(start({{"SLURM_NTASKS", "3"}, {"SLURM_PROCID", "0"}})) << "a plain start in a batch script";
  EXPECT_FALSE(start({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}})) << "the shell of srun --pty";
  EXPECT_FALSE(start({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}}, 3)) << "srun --mpi=pmix";
  EXPECT_FALSE(start({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}))
      << "mpirun -n 1 inside a step";
}

}  // namespace
}  // namespace memring
