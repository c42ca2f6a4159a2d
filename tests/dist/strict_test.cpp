// run.deterministic = strict: loss and gradients on a mesh have the bits of one rank, whatever the mesh and the
// threads. (Each rank builds the one-rank answer itself.)
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "random_configs.h"
#include "ranks.h"

namespace memring {
namespace {

constexpr uint32_t kTrials = 16;

Config strict(Config c) {
  c.run.deterministic = Determinism::Strict;
  c.run.block = 4;
  c.data.micro_batch = 0;
  c.device.dtype = Precision::Fp32;
  return c;
}

void expect_same_bits(const Result& found, const Result& expected, const std::string& where) {
  EXPECT_EQ(found.targets, expected.targets) << where;
  EXPECT_EQ(found.nll, expected.nll) << where;
  ASSERT_EQ(found.gradients.size(), expected.gradients.size());
  size_t differ = 0, first = 0;
  for (size_t i = found.gradients.size(); i-- > 0;)
    if (std::memcmp(&found.gradients[i], &expected.gradients[i], sizeof(double)) != 0) {
      ++differ;
      first = i;
    }
  EXPECT_EQ(differ, 0u) << where << ": of " << found.gradients.size() << " gradients, the first at " << first << ": "
                        << found.gradients[first] << " and " << expected.gradients[first];
}

void expect_one_ranks_bits(Config config, const std::vector<MeshConfig>& on) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  config.mesh = {.data = 1, .segment = 1, .token = 1};
  config.device.threads = 1;
  const Result expected = run(config, alone);
  EXPECT_GT(expected.targets, 0);
  // Threads on one rank alone: more of them than cores wait for each other.
  config.device.threads = world().size() == 1 ? 2 : 1;
  for (const MeshConfig& mesh : on) {
    config.mesh = mesh;
    expect_same_bits(run(config, world()), expected, text_of(mesh));
  }
}

TEST(Strict, RandomConfigurationsHaveTheBitsOfOneRank) {
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    Dice dice(trial);
    Config config = strict(random_config(dice));
    config.run.block = dice.one_of({1, 2, 4, 16, 256});
    SCOPED_TRACE(fmt::format("trial {} on {} ranks:\n{}", trial, world().size(), render_config(config)));
    ASSERT_NO_FATAL_FAILURE(expect_one_ranks_bits(config, {config.mesh}));
  }
}

struct Case {
  const char* name;
  void (*change)(Config&);
};

/// Widths beyond a vector's and a product's tile, and rows enough for several blocks of each rank.
void wide(Config& c) {
  c.model.dim = 72;
  c.model.heads = 6;
  c.model.kv_heads = 3;
  c.model.head_dim = 20;
  c.model.ffn = 300;
  c.model.vocab = 290;
  c.run.block = 16;
}

const Case kCases[] = {
    {"rmt", [](Config& c) { c.segment.length = 100; }},
    {"rmt_block_mask_window",
     [](Config& c) {
       c.segment.length = 61;
       c.memory.mask = MemoryMask::Block;
       c.memory.tokens = 5;
       c.tbptt = {.mode = TbpttMode::Window, .window = 2, .recompute = RecomputeWhen::Always};
     }},
    {"rmt_unbiased_tied",
     [](Config& c) {
       c.segment.length = 37;
       c.model.tied = true;
       c.tbptt = {.mode = TbpttMode::Unbiased, .cut = 0.3};
     }},
    {"armt",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Armt, .tokens = 21, .key_dim = 12, .nu = 3};
       c.segment.length = 100;
     }},
    {"armt_window_recompute",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Armt, .tokens = 3, .key_dim = 8, .nu = 2};
       c.segment.length = 45;
       c.tbptt = {.mode = TbpttMode::Window, .window = 2, .recompute = RecomputeWhen::Always};
     }},
    {"halo_recompute",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Halo, .window = 70, .sinks = 3};
       c.segment.length = 45;
       c.tbptt.recompute = RecomputeWhen::Always;
     }},
    {"uio",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Uio, .tokens = 11, .lora_rank = 3};
       c.segment.length = 44;
     }},
    {"uio_distil",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Uio, .tokens = 5, .lora_rank = 2};
       c.segment.length = 25;
       c.objective = {.kind = ObjectiveKind::Distil, .kl = 0.5};
       c.model.train = "memory";
     }},
    {"uio_reservoir_recompute",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Uio, .tokens = 5, .lora_rank = 2};
       c.segment.length = 25;
       c.tbptt = {.mode = TbpttMode::Unbiased, .window = 2, .recompute = RecomputeWhen::Always};
     }},
    {"rmt_in_double",
     [](Config& c) {
       c.device.dtype = Precision::Fp64;
       c.model.ffn = 30;
       c.segment.length = 61;
       c.data.length = 130;
     }},
    {"none_one_segment",
     [](Config& c) {
       c.memory.kind = MemoryKind::None;
       c.segment.length = 0;
     }},
    {"none_segments_shorter_than_a_block",
     [](Config& c) {
       c.memory.kind = MemoryKind::None;
       c.segment.length = 30;
       c.run.block = 64;
     }},
    {"none_longer_than_a_chunk_of_the_head",
     [](Config& c) {
       c.memory.kind = MemoryKind::None;
       c.segment.length = 0;
       c.data.length = 1301;
       c.data.batch = 1;
       c.run.block = 512;
     }},
    {"rmt_longer_than_a_chunk_of_the_head",
     [](Config& c) {
       c.memory.tokens = 7;
       c.segment.length = 1100;
       c.data.length = 1301;
       c.data.batch = 1;
       c.run.block = 64;
     }},
};

class StrictCases : public testing::TestWithParam<Case> {};

TEST_P(StrictCases, HaveTheBitsOfOneRankOnEveryMesh) {
  Config config = small_config();
  wide(config);
  config.data.length = 307;
  config.run.deterministic = Determinism::Strict;
  config.device.dtype = Precision::Fp32;
  GetParam().change(config);
  expect_one_ranks_bits(config, meshes(world().size()));
}

INSTANTIATE_TEST_SUITE_P(All, StrictCases, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& one) { return one.param.name; });

// Rounding to blocks and grids is all that strict changes: in double nearly nothing.
TEST(Strict, ComputesWhatMeshComputes) {
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Halo}) {
    Config config = small_config();
    config.memory.kind = kind;
    config.mesh = {.data = 0, .segment = 1, .token = 1};
    const Result expected = run(config, world());
    config.run.deterministic = Determinism::Strict;
    config.run.block = 4;
    const Result found = run(config, world());
    EXPECT_NEAR(found.nll / expected.nll, 1, 1e-8) << word_of(kind);
    EXPECT_LE(relative(found.gradients, expected.gradients), 1e-11) << word_of(kind);
  }
}

}  // namespace
}  // namespace memring
