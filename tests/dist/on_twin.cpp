// The engine on the twin of a device: besides the other tests, that it computes the bits of the references.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine_runs.h"
#include "kernels/cuda/twin/device.h"
#include "ranks.h"

namespace memring {

DeviceKind device_under_test() { return DeviceKind::Cuda; }

namespace {

/// What else changes with a device: nothing.
void expect_the_bits_of_the_cpu(Config config, const std::string& what) {
  for (const MeshConfig& mesh : meshes(world().size())) {
    SCOPED_TRACE(fmt::format("{}, mesh {}", what, text_of(mesh)));
    config.mesh = mesh;
    config.device.kind = DeviceKind::Cpu;  // in fp64: the references
    const Result expected = run(config, world());
    config.device.kind = DeviceKind::Cuda;
    const Result found = run(config, world());
    EXPECT_EQ(found.nll, expected.nll);
    EXPECT_EQ(found.gradients, expected.gradients);
  }
}

TEST(Twin, ComputesTheBitsOfTheReferences) {
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt})
    for (const RecomputeWhen when : {RecomputeWhen::Always, RecomputeWhen::Never}) {
      Config c = small_config();
      c.memory.kind = kind;
      c.memory.tokens = kind == MemoryKind::None ? 0 : 3;
      c.memory.key_dim = 8;
      c.tbptt.recompute = when;
      expect_the_bits_of_the_cpu(c, fmt::format("{}, recompute {}", word_of(kind), word_of(when)));
      c.tbptt.mode = TbpttMode::Window;
      c.tbptt.window = 3;
      c.data.micro_batch = 2;
      expect_the_bits_of_the_cpu(c, fmt::format("{}, recompute {}, window 3", word_of(kind), word_of(when)));
    }
}

/// Waits of the host in a batch of so many segments, each one cell forward and one backward.
int64_t waits(int64_t segments) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  config.data.batch = 1;
  config.data.length = segments * config.segment.length;
  config.tbptt.recompute = RecomputeWhen::Never;
  Mesh mesh(alone, {1, 1, 1});
  Model model = model_of(config);
  Engine engine(config, model, mesh, NodeShare{}, workload_of(config, 1, {sequence_shape(config)}, true));
  engine.allocate();
  const RandomTokens tokens(1, sequence_shape(config), config.model.vocab);
  Executor& executor = engine.executor();
  const auto once = [&] {
    executor.run(tokens, executor.draw(0, tokens.shape()));
    executor.sums();
  };
  once();
  const int64_t before = engine.queue().waits();
  once();
  return engine.queue().waits() - before;
}

TEST(Twin, TheHostWaitsOnceABatchAndOnceForEightCells) {
  EXPECT_EQ(waits(2), 1);
  for (const int64_t segments : {40, 80}) EXPECT_LE(waits(segments), 1 + 2 * segments / 8) << segments;
}

}  // namespace
}  // namespace memring
