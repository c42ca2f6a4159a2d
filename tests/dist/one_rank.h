// One rank's engine whose weights a test moves: the gradients of a whole step against finite differences.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "engine_runs.h"
#include "ranks.h"

namespace memring {

class OneRank {
 public:
  /// Of RandomTokens, or of other batches.
  explicit OneRank(const Config& config, std::unique_ptr<TokenSource> tokens = nullptr)
      : tokens_(tokens ? std::move(tokens)
                       : std::make_unique<RandomTokens>(config.data.batch, sequence_shape(config), config.model.vocab)),
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
  /// Of a batch; gradients are those of the last call.
  StepSums sums(ResultSink* sink = nullptr) {
    Elementwise::fill(engine_.queue(), params().grads(), 0);
    engine_.executor().run(*tokens_, engine_.executor().draw(0, tokens_->shape()), sink);
    return engine_.executor().sums();
  }
  double nll(ResultSink* sink = nullptr) { return sums(sink).nll; }
  std::vector<double> gradients() {
    const HostCopy copy(queue(), params().grads());
    copy.fetch(queue());
    const double* const g = copy.view().as<double>();
    return {g, g + copy.view().size()};
  }

 private:
  std::unique_ptr<TokenSource> tokens_;
  Communicator group_;
  Mesh mesh_;
  Model model_;
  Engine engine_;
};

/// Of each trained tensor in a random direction; `unread`: nothing depends on those whose names begin so.
inline void expect_finite_differences(OneRank& job, const std::string& unread = "memory.nothing") {
  constexpr double kStep = 1e-6;
  job.nll();
  const std::vector<double> all = job.gradients();
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
    EXPECT_EQ(expected == 0, entry.name.starts_with(unread)) << entry.name;
    EXPECT_NEAR((above - below) / (2 * kStep), expected, 1e-6 * (1 + std::abs(expected))) << entry.name;
  }
}

}  // namespace memring
