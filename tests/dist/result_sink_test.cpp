// What a sink gets: losses of every position, and the logits that its workload asks for.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

/// Random tokens; only the second sequence has targets, and those in its first segment.
class FewTargets final : public RandomTokens {
 public:
  using RandomTokens::RandomTokens;
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    RandomTokens::read(sequence, begin, tokens, targets);
    if (sequence != 1 || begin >= shape().segment_length) std::fill(targets.begin(), targets.end(), kIgnoredTarget);
  }
};

class Positions final : public ResultSink {
 public:
  explicit Positions(int64_t length) : length_(length) {}
  void losses(int64_t sequence, int64_t position, ConstView<> nll, std::span<const int32_t>) override {
    add(losses_at, sequence, position, nll.size());
  }
  void logits(int64_t sequence, int64_t position, ConstView<> values, std::span<const int32_t> targets) override {
    add(logits_at, sequence, position, std::ssize(targets));
    for (int64_t i = 0; i < values.size(); ++i) size += std::abs(values.as<double>()[i]);
  }
  std::set<int64_t> losses_at, logits_at;
  double size = 0;  ///< of all logits together

 private:
  void add(std::set<int64_t>& to, int64_t sequence, int64_t position, int64_t count) const {
    for (int64_t p = position; p < position + count; ++p) EXPECT_TRUE(to.insert(sequence * length_ + p).second);
  }
  int64_t length_;
};

using Logits = Workload::Logits;

constexpr MemoryKind kKinds[] = {MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Uio,
                                 MemoryKind::Halo};

TEST(ResultSink, GetsEveryLossAndTheLogitsItAsksFor) {
  for (const MemoryKind kind : kKinds)
    for (const bool backward : {false, true})
      for (const int64_t micro_batch : {1, 3})
        for (const Logits wanted : {Logits::None, Logits::Counted, Logits::All}) {
          SCOPED_TRACE(fmt::format("memory {}, backward {}, micro batch {}, logits {}", word_of(kind), backward,
                                   micro_batch, static_cast<int>(wanted)));
          Config config = small_config();
          if (kind == MemoryKind::Uio) uio(config);
          config.memory.kind = kind;
          config.data.micro_batch = micro_batch;
          config.mesh = {.data = 1, .segment = 1, .token = world().size()};
          const SequenceShape shape = sequence_shape(config);
          Mesh mesh(world(), resolve_mesh(1, 1, world().size(), world().size()));
          Workload workload = workload_of(config, config.data.batch, {shape}, backward);
          workload.logits = wanted;
          Model model = model_of(config);
          Engine engine(config, model, mesh, NodeShare{}, workload);
          engine.allocate();
          engine.params().initialise(7, engine.queue());
          const FewTargets tokens(config.data.batch, shape, config.model.vocab);
          Positions found(shape.length);
          engine.executor().run(tokens, engine.executor().draw(0, shape), &found);

          double totals[3] = {static_cast<double>(found.losses_at.size()), static_cast<double>(found.logits_at.size()),
                              found.size};
          world().all_reduce_sum(View<double>(totals, {3}));
          const auto all = static_cast<double>(config.data.batch * shape.length);
          EXPECT_EQ(totals[0], all);
          if (wanted != Logits::Counted) {
            EXPECT_EQ(totals[1], wanted == Logits::All ? all : 0);
          } else {
            EXPECT_LE(totals[1], all);
            for (int64_t p = 0; p < shape.segment_length && world().size() == 1; ++p)
              EXPECT_TRUE(found.logits_at.contains(shape.length + p)) << "position " << p;
          }
          EXPECT_EQ(totals[2] > 0, wanted != Logits::None);
        }
}

/// Random tokens with two targets in all: one in the second sequence, one at the end of the last.
class TwoTargets final : public RandomTokens {
 public:
  using RandomTokens::RandomTokens;
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    RandomTokens::read(sequence, begin, tokens, targets);
    for (size_t i = 0; i < targets.size(); ++i) {
      const int64_t position = begin + static_cast<int64_t>(i);
      const bool counts = sequence == 1 ? position == 7 : sequence + 1 == sequences() && position + 2 == shape().length;
      if (!counts) targets[i] = kIgnoredTarget;
    }
  }
};

// Asking for all logits makes the last layer compute all rows.
TEST(LastLayer, LeavesOutTheRowsThatNobodyReadsAndNothingElse) {
  for (const MemoryKind kind : kKinds)
    for (const RecomputeWhen recompute : {RecomputeWhen::Never, RecomputeWhen::Always})
      for (const int64_t micro_batch : {1, 3}) {
        SCOPED_TRACE(
            fmt::format("memory {}, recompute {}, micro batch {}", word_of(kind), word_of(recompute), micro_batch));
        Config config = small_config();
        config.memory.kind = kind;  // uio: 3 of 9 tokens
        config.memory.mask = MemoryMask::Block;
        config.tbptt.recompute = recompute;
        config.data.micro_batch = micro_batch;
        config.segment.length = 9;
        const SequenceShape shape = sequence_shape(config);
        const TwoTargets tokens(config.data.batch, shape, config.model.vocab);
        const auto run = [&](Logits wanted) {
          Mesh mesh(world(), resolve_mesh(1, world().size(), 1, world().size()));
          Workload workload = workload_of(config, config.data.batch, {shape}, true);
          workload.logits = wanted;
          Model model = model_of(config);
          Engine engine(config, model, mesh, NodeShare{}, workload);
          engine.allocate();
          engine.params().initialise(7, engine.queue());
          make_memory_matter(engine.params(), engine.queue());
          Positions found(shape.length);
          engine.executor().run(tokens, engine.executor().draw(0, shape), &found);
          double nll = engine.executor().sums().nll;
          engine.sum_gradients(mesh.world_transport());
          world().all_reduce_sum(View<double>(&nll, {1}));
          const HostCopy gradients(engine.queue(), engine.params().rounded_grads());
          gradients.fetch(engine.queue());
          const double* g = gradients.view().as<double>();
          return Result{nll, 0, std::vector<double>(g, g + engine.params().layout().size)};
        };
        const Result few = run(Logits::None), all = run(Logits::All);
        EXPECT_GT(all.nll, 0);
        EXPECT_NEAR(few.nll / all.nll, 1, 1e-12);
        EXPECT_LT(relative(few.gradients, all.gradients), 1e-12);
      }
}

// A cell a layer would need more message tags than there are.
TEST(DeepModel, RunsOnAWavefrontWhoseCellsHoldSeveralLayers) {
  if (world().size() != 2) return;
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config config = small_config();
  config.model.layers = Schedule::most_cells_under_way() / 4 + 1;
  config.model.dim = config.model.ffn = 4;
  config.model.heads = config.model.kv_heads = 1;
  config.memory = {.kind = MemoryKind::Armt,
                   .reset = MemoryReset::Sequence,
                   .tokens = 1,
                   .mask = MemoryMask::Causal,
                   .key_dim = 2,
                   .nu = 1};
  config.segment.length = 2;
  config.data.length = 6;
  config.data.batch = 1;
  const auto nll = [&](Communicator& group, MeshConfig shape) {
    config.mesh = shape;
    Mesh mesh(group, resolve_mesh(shape.data, shape.segment, shape.token, group.size()));
    Model model = model_of(config);
    Engine engine(config, model, mesh, NodeShare{}, workload_of(config, 1, {sequence_shape(config)}, true));
    engine.allocate();
    engine.params().initialise(7, engine.queue());
    const RandomTokens tokens(1, sequence_shape(config), config.model.vocab);
    engine.executor().run(tokens, engine.executor().draw(0, tokens.shape()));
    double sum = engine.executor().sums().nll;
    group.all_reduce_sum(View<double>(&sum, {1}));
    return sum;
  };
  const double expected = nll(alone, {1, 1, 1});
  EXPECT_GT(expected, 0);
  EXPECT_NEAR(nll(world(), {1, 2, 1}) / expected, 1, 1e-9);
}

}  // namespace
}  // namespace memring
