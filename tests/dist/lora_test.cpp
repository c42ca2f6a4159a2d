// Low-rank updates of the decoder's layers in a whole step: finite differences, every mesh, and a start that changes
// nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "one_rank.h"

namespace memring {
namespace {

Config config_of(MemoryKind kind, const std::string& train = "lora") {
  Config config = small_config();
  if (kind == MemoryKind::Armt) armt(config);
  config.memory.kind = kind;
  config.lora = {.rank = 2, .alpha = 3, .targets = "all"};
  config.model.train = train;
  return config;
}

class Lora : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, Lora, testing::Values(MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt),
                         [](const auto& memory) { return std::string(word_of(memory.param)); });

// Of each update's two matrices in a random direction. (ARMT's gamma is a constant for the gradient, so its gradients
// are not those of the loss.)
TEST(LoraStep, GradientsMatchFiniteDifferences) {
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt}) {
    OneRank job(config_of(kind));
    make_memory_matter(job.params(), job.queue());
    ASSERT_EQ(std::ssize(job.params().trained_layout().entries), 2 * 2 * 7);
    expect_finite_differences(job);
  }
}

TEST_P(Lora, EveryMeshEqualsOneRank) {
  for (const char* train : {"lora", "all"}) {
    Config config = config_of(GetParam(), train);
    Communicator alone = world().split(world().rank(), 0, "alone");
    const Result expected = run(config, alone);
    for (const MeshConfig& mesh : meshes(world().size())) {
      config.mesh = mesh;
      const Result found = run(config, world());
      EXPECT_NEAR(found.nll, expected.nll, 1e-9 * expected.nll) << train << ' ' << text_of(mesh);
      EXPECT_LE(relative(found.gradients, expected.gradients), 1e-9) << train << ' ' << text_of(mesh);
    }
  }
}

TEST_P(Lora, ANewUpdateLeavesTheLossAsItIs) {
  Config config = config_of(GetParam());
  OneRank adapted(config);
  config.lora.rank = 0;
  config.model.train = "all";
  OneRank base(config);
  EXPECT_EQ(adapted.nll(), base.nll());
}

}  // namespace
}  // namespace memring
