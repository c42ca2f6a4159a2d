// Random small configurations on random meshes and threads: loss and gradients equal one rank's, and the same mesh
// gives the same bits. (Each rank builds the one-rank answer itself.)
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "random_configs.h"
#include "ranks.h"

namespace memring {
namespace {

constexpr uint32_t kTrials = 24;

TEST(RandomMeshes, ComputeWhatOneRankComputes) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Dice dice(trial);
    Config config = random_config(dice);
    SCOPED_TRACE(fmt::format("trial {} on {} ranks:\n{}", trial, world().size(), render_config(config)));
    Config one = config;
    one.mesh = {.data = 1, .segment = 1, .token = 1};
    const Result expected = run(one, alone), found = run(config, world());
    ASSERT_EQ(found.targets, expected.targets);
    ASSERT_NEAR(found.nll, expected.nll, 1e-9 * expected.nll);
    ASSERT_LE(distance(found.gradients, expected.gradients), 1e-9 * distance(expected.gradients, {}));

    if (trial % 4 != 0) continue;
    config.device.dtype = Precision::Fp32;
    const Result once = run(config, world()), again = run(config, world());
    ASSERT_EQ(once.nll, again.nll);
    ASSERT_EQ(std::memcmp(once.gradients.data(), again.gradients.data(), once.gradients.size() * sizeof(double)), 0);
  }
}

}  // namespace
}  // namespace memring
