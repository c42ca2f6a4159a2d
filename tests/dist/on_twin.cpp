// The engine on the twin of a device: besides the other tests, that it computes the bits of the references.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine_runs.h"
#include "kernels/cuda/twin/device.h"
#include "ranks.h"
#include "train/training_run.h"

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
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Halo})
    for (const RecomputeWhen when : {RecomputeWhen::Always, RecomputeWhen::Never}) {
      Config c = small_config();
      c.memory.kind = kind;
      c.memory.tokens = kind == MemoryKind::None ? 0 : 3;
      c.memory.key_dim = 8;
      c.memory.sinks = 2;
      c.tbptt.recompute = when;
      expect_the_bits_of_the_cpu(c, fmt::format("{}, recompute {}", word_of(kind), word_of(when)));
      c.tbptt.mode = TbpttMode::Window;
      c.tbptt.window = 3;
      c.data.micro_batch = 2;
      expect_the_bits_of_the_cpu(c, fmt::format("{}, recompute {}, window 3", word_of(kind), word_of(when)));
    }
}

/// One sequence of so many segments, each one cell forward and one backward.
Config long_config(int64_t segments) {
  Config config = small_config();
  config.data.batch = 1;
  config.data.length = segments * config.segment.length;
  config.tbptt.recompute = RecomputeWhen::Never;
  return config;
}

/// Waits of the host in a batch.
int64_t waits_in_batch(const Config& config) {
  Communicator alone = world().split(world().rank(), 0, "alone");
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

/// Waits of the host in a training step.
int64_t waits_in_step(const Config& config) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  TrainingRun run(config, alone, NodeShare{}, {sequence_shape(config)}, TrainingRun::Saves::None);
  run.allocate();
  const RandomTokens tokens(1, sequence_shape(config), config.model.vocab);
  const auto once = [&](int64_t number) {
    run.step(
        tokens, number, [](StepSums&) {},
        [&](const ReducedStep&) {
          return std::optional(Update{1e-3, number + 1});
        });
  };
  once(0);
  const int64_t before = run.engine().queue().waits();
  once(1);
  return run.engine().queue().waits() - before;
}

// The numbers of eight cells lie in one of two buffers: before one is used again, the host waits for what it held. That
// of the batch before has been waited for.
TEST(Twin, TheHostWaitsOnceABatchAndOnceForEightCells) {
  for (const auto& [what, waits] : {std::pair{"batch", &waits_in_batch}, {"step", &waits_in_step}}) {
    EXPECT_EQ(waits(long_config(2)), 1) << what;
    for (const int64_t segments : {40, 80}) {
      const int64_t cells = 2 * segments, found = waits(long_config(segments));
      EXPECT_LE(found, 1 + cells / 8) << what << " of " << cells << " cells";
      EXPECT_GE(found, 1 + cells / 8 - 2) << what << " of " << cells << " cells";
    }
  }
}

}  // namespace
}  // namespace memring
