// Low-rank updates of the decoder's layers in a whole step: finite differences, every mesh, and a start that changes
// nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "engine_runs.h"
#include "kernels/elementwise/elementwise.h"
#include "ranks.h"

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

/// One rank's engine, whose weights a test moves.
class Alone {
 public:
  explicit Alone(const Config& config)
      : config_(config),
        group_(world().split(world().rank(), 0, "alone")),
        mesh_(group_, {1, 1, 1}),
        model_(model_of(config)),
        engine_(config, model_, mesh_, NodeShare{},
                workload_of(config, config.data.batch, {sequence_shape(config)}, true)) {
    engine_.allocate();
    params().initialise(7, engine_.queue());
  }
  Params& params() { return engine_.params(); }
  const Queue& queue() { return engine_.queue(); }
  /// Gradients are those of the last call.
  double nll() {
    Elementwise::fill(engine_.queue(), params().grads(), 0);
    const RandomTokens tokens(config_.data.batch, sequence_shape(config_), config_.model.vocab);
    engine_.executor().run(tokens, engine_.executor().draw(0, tokens.shape()));
    return engine_.executor().sums().nll;
  }

 private:
  Config config_;
  Communicator group_;
  Mesh mesh_;
  Model model_;
  Engine engine_;
};

class Lora : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, Lora, testing::Values(MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt),
                         [](const auto& memory) { return std::string(word_of(memory.param)); });

// Of each update's two matrices in a random direction. (ARMT's gamma is a constant for the gradient, so its gradients
// are not those of the loss.)
TEST(LoraStep, GradientsMatchFiniteDifferences) {
  constexpr double kStep = 1e-6;
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt}) {
    Alone job(config_of(kind));
    make_memory_matter(job.params(), job.queue());
    job.nll();
    const HostCopy gradients(job.queue(), job.params().grads());
    gradients.fetch(job.queue());
    const double* const g = gradients.view().as<double>();
    const std::vector<double> all(g, g + gradients.view().size());
    ASSERT_EQ(std::ssize(job.params().trained_layout().entries), 2 * 2 * 7);
    for (const FlatEntry& entry : job.params().trained_layout().entries) {
      const HostCopy weight(job.queue(), job.params().trained_weights().rows(entry.offset, entry.shape.elements()));
      const Random random(11, Purpose::Test);
      const auto moved_by = [&](double by) {
        weight.fetch(job.queue());
        for (int64_t i = 0; i < weight.view().size(); ++i)
          weight.view().as<double>()[i] += by * random.normal(static_cast<uint32_t>(i));
        weight.store(job.queue());
      };
      double expected = 0;
      for (int64_t i = 0; i < entry.shape.elements(); ++i)
        expected += all[static_cast<size_t>(entry.offset + i)] * random.normal(static_cast<uint32_t>(i));
      moved_by(kStep);
      const double above = job.nll();
      moved_by(-2 * kStep);
      const double below = job.nll();
      moved_by(kStep);
      EXPECT_NE(expected, 0) << entry.name;
      EXPECT_NEAR((above - below) / (2 * kStep), expected, 1e-6 * (1 + std::abs(expected))) << entry.name;
    }
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
  Alone adapted(config);
  config.lora.rank = 0;
  config.model.train = "all";
  Alone base(config);
  EXPECT_EQ(adapted.nll(), base.nll());
}

}  // namespace
}  // namespace memring
