// Halo: segments with the keys and values of what came before are the whole sequence under a mask, on any mesh; with
// gradients.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "dense_llama.h"
#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

Config halo_config(int64_t window, int sinks, int64_t segment) {
  Config c = small_config();
  c.memory = {.kind = MemoryKind::Halo, .window = window, .sinks = sinks};
  c.segment.length = segment;
  return c;
}

TEST(Halo, IsFullAttentionWhereItsWindowCoversTheSequence) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config full = small_config();
  full.memory.kind = MemoryKind::None;
  full.segment.length = 0;
  full.mesh = {.data = 1, .segment = 1, .token = 1};
  const Result expected = run(full, alone);
  struct Case {
    int64_t window, segment;
    int sinks;
    int64_t boundaries;
    RecomputeWhen recompute;
  };
  for (const Case& one : {Case{37, 5, 0, 0, RecomputeWhen::Never},
                          {50, 5, 3, 0, RecomputeWhen::Always},
                          {37, 4, 0, 3, RecomputeWhen::Always},
                          {0, 19, 2, 0, RecomputeWhen::Never}})
    for (const MeshConfig& mesh : meshes(world().size())) {
      Config config = halo_config(one.window, one.sinks, one.segment);
      config.tbptt.recompute = one.recompute;
      config.tbptt.boundaries = one.boundaries;
      config.mesh = mesh;
      SCOPED_TRACE(fmt::format("window {}, {} sinks, segments of {}, mesh {}", one.window, one.sinks, one.segment,
                               text_of(mesh)));
      const Result found = run(config, world());
      EXPECT_NEAR(found.nll / expected.nll, 1, 1e-12);
      EXPECT_LE(relative(found.gradients, expected.gradients), 1e-9);
    }
}

TEST(Halo, KeepsNoMoreThanASequenceHas) {
  const auto state_numbers = [](int64_t window, int sinks) {
    const Model model = model_of(halo_config(window, sinks, 5));  // 37 tokens: 35 before the last segment
    return model.memory->state_numbers(0) / (2 * model.llama.shape().kv_heads * model.llama.shape().head_dim);
  };
  EXPECT_EQ(state_numbers(20, 0), 19);
  EXPECT_EQ(state_numbers(36, 0), 35);
  EXPECT_EQ(state_numbers(1 << 20, 0), 35);
  EXPECT_EQ(state_numbers(1 << 20, 3), 35);
  EXPECT_EQ(state_numbers(0, 0), 5);
}

/// The weights that run() starts with.
std::vector<double> initial_weights(Params& params) {
  Arena measure;
  params.allocate(measure, DType::F64, Params::Gradients::None);
  Arena memory(measure.peak());
  params.allocate(memory, DType::F64, Params::Gradients::None);
  params.initialise(7, Queue{});
  make_memory_matter(params, Queue{});
  const double* const weights = params.weights().as<double>();
  return {weights, weights + params.layout().size};
}

// Token t sees u <= t where u is a sink, or among the last `window`; or, without a window, where it is in t's segment
// or the one before.
TEST(Halo, IsTheDenseModelUnderItsMask) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  struct Case {
    int64_t window, segment;
    int sinks;
  };
  for (const Case& one : {Case{0, 5, 0}, {0, 4, 2}, {4, 5, 0}, {7, 3, 0}, {3, 5, 2}, {6, 2, 1}, {1, 5, 0}, {1, 3, 3}}) {
    SCOPED_TRACE(fmt::format("window {}, {} sinks, segments of {}", one.window, one.sinks, one.segment));
    Config config = halo_config(one.window, one.sinks, one.segment);
    config.data.length = 17;
    config.data.batch = 2;
    config.mesh = {.data = 1, .segment = 1, .token = 1};
    const Result found = run(config, alone);

    Model model = model_of(config);
    std::vector<double> weights = initial_weights(model.params);
    const DenseLlama dense(config, model.params.layout());
    const RandomTokens batch(config.data.batch, sequence_shape(config), config.model.vocab);
    const auto nll = [&] {
      double sum = 0;
      for (int64_t b = 0; b < config.data.batch; ++b) {
        std::vector<int32_t> tokens(static_cast<size_t>(config.data.length)), targets(tokens.size());
        batch.read(b, 0, tokens, targets);
        sum += dense.nll(weights, tokens, targets, [&](int64_t t, int64_t u) {
          return u < one.sinks || (one.window > 0 ? u > t - one.window : u / one.segment + 1 >= t / one.segment);
        });
      }
      return sum;
    };
    EXPECT_NEAR(found.nll / nll(), 1, 1e-12);
    double largest = 0;
    for (const double g : found.gradients) largest = std::max(largest, std::abs(g));
    for (const FlatEntry& entry : model.params.layout().entries)
      for (const int64_t part : {1, 2}) {  // of each tensor two numbers
        const int64_t i = entry.offset + (entry.shape.elements() - 1) * part / 3;
        constexpr double kStep = 1e-5;
        double& weight = weights[static_cast<size_t>(i)];
        const double before = weight;
        weight = before + kStep;
        const double above = nll();
        weight = before - kStep;
        const double below = nll();
        weight = before;
        EXPECT_NEAR(found.gradients[static_cast<size_t>(i)], (above - below) / (2 * kStep), 1e-7 * largest)
            << entry.name << ", number " << i - entry.offset;
      }
  }
}

}  // namespace
}  // namespace memring
