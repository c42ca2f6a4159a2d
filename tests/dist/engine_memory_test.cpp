// What the engine plans to take from the machine, and what it does to take less.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

constexpr auto kNameOf = [](const auto& memory) { return std::string(word_of(memory.param)); };

class PlannedMemory : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, PlannedMemory,
                         testing::Values(MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Uio, MemoryKind::Halo),
                         kNameOf);

/// Of one segment, read by the next.
class PlannedStates : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, PlannedStates, testing::Values(MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Halo),
                         kNameOf);

TEST(Executor, ChoosesRecomputeWhenActivationsDoNotFit) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  config.tbptt.recompute = RecomputeWhen::Auto;
  Mesh mesh(alone, {1, 1, 1});
  Model model = model_of(config);
  const auto engine = [&](int64_t bytes) {
    config.device.memory = bytes;
    return Engine(config, model, mesh, NodeShare{},
                  workload_of(config, config.data.batch, {sequence_shape(config)}, true));
  };
  auto roomy = engine(1 << 30);
  EXPECT_FALSE(roomy.executor().plan().policy.recompute);
  EXPECT_FALSE(roomy.params().weights()) << "memory is taken before allocate()";
  const auto limited = [](const Engine& of) {  // what device.memory is about
    const SpaceBytes bytes = of.plan().by_space();
    return device_under_test() == DeviceKind::Cuda ? bytes.device : bytes.host;
  };
  auto tight = engine(limited(roomy) - 1);
  EXPECT_TRUE(tight.executor().plan().policy.recompute);
  EXPECT_LT(limited(tight), limited(roomy));
  try {
    engine(1000);
    FAIL() << "1000 bytes were enough";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Usage);
    EXPECT_NE(std::string(error.what()).find("device.memory"), std::string::npos) << error.what();
  }
}

// As many as the largest operands of a step: what the plan says, and allocate() takes.
TEST_P(PlannedMemory, ProductsKeepTheCopiesThatArePlanned) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  if (GetParam() == MemoryKind::Uio) uio(config);
  config.memory.kind = GetParam();
  config.memory.key_dim = 4;
  config.device.dtype = Precision::Bf16;
  Mesh mesh(alone, {1, 1, 1});
  Model model = model_of(config);
  Engine engine(config, model, mesh, NodeShare{},
                workload_of(config, config.data.batch, {sequence_shape(config)}, true));
  const ProductCopies before = product_copies(Products::Bf16), planned = engine.executor().plan().copies;
  EXPECT_GT(planned.left, 0);
  EXPECT_GT(engine.plan().bytes_of(MemoryPurpose::Products), 0);
  engine.allocate();
  EXPECT_EQ(product_copies(Products::Bf16), before | planned);
  engine.params().initialise(7, Queue{});
  const RandomTokens tokens(config.data.batch, sequence_shape(config), config.model.vocab);
  engine.executor().run(tokens, engine.executor().draw(0, tokens.shape()));
  EXPECT_EQ(product_copies(Products::Bf16), before | planned);
}

TEST_P(PlannedStates, FullBackPropagationKeepsOneASegment) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  config.memory.kind = GetParam();
  config.memory.key_dim = 4;
  config.tbptt.recompute = RecomputeWhen::Always;
  config.data.batch = 1;
  Mesh mesh(alone, {1, 1, 1});
  const auto planned = [&](int64_t segments) {
    Model model = model_of(config);
    Engine engine(config, model, mesh, NodeShare{},
                  workload_of(config, 1, {{segments * config.segment.length, config.segment.length}}, true));
    return engine.plan().total();
  };
  const int64_t keys = 2 * config.memory.nu * config.memory.key_dim;
  const ModelConfig& m = config.model;
  const int64_t numbers = config.memory.kind == MemoryKind::Rmt ? config.memory.tokens * m.dim
                          : config.memory.kind == MemoryKind::Armt
                              ? m.layers * keys * (m.dim + 1)
                              : m.layers * 2 * m.kv_heads * config.segment.length * m.head_dim;
  const int64_t state = (numbers * 8 + 255) / 256 * 256;  // a slot
  EXPECT_EQ(planned(40) - planned(20), 20 * state);
  config.tbptt.boundaries = 10;
  EXPECT_EQ(planned(40) - planned(20), 2 * state);
  config.tbptt = {.mode = TbpttMode::Window, .window = 4, .recompute = RecomputeWhen::Always};
  EXPECT_EQ(planned(40), planned(20));
}

// All of them are read by all later segments, and so each has a gradient that is summed until its encoding.
TEST(Executor, KeepsEveryMemoryOfUioAndItsGradient) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  uio(config);
  config.tbptt.recompute = RecomputeWhen::Always;
  config.data.batch = 1;
  Mesh mesh(alone, {1, 1, 1});
  const auto planned = [&](int64_t segments, MemoryPurpose purpose) {
    Model model = model_of(config);
    const Engine engine(config, model, mesh, NodeShare{},
                        workload_of(config, 1, {{segments * config.segment.length, config.segment.length}}, true));
    return engine.plan().bytes_of(purpose);
  };
  const ModelConfig& m = config.model;
  const int64_t memory = m.layers * 2 * m.kv_heads * config.memory.tokens * m.head_dim * 8;
  for (const MemoryPurpose purpose : {MemoryPurpose::States, MemoryPurpose::Adjoints})
    EXPECT_EQ(planned(40, purpose) - planned(20, purpose), 20 * memory) << name_of(purpose);
}

}  // namespace
}  // namespace memring
