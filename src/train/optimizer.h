// Optimizer: AdamW on this rank's shard of the flat parameter buffer, and the learning rate of each step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "base/ids.h"
#include "config/config.h"
#include "kernels/adamw/adamw.h"
#include "model/params.h"
#include "train/curriculum.h"

namespace memring {

/// Linear warm-up from 0 over `warmup` steps, then cosine or linear decay to min_lr at the end of the run, or constant
/// with a linear decay over the last `decay` of it. The end is run.steps or run.tokens, whichever is nearer; without
/// either the rate stays constant. Of the next step, when `step` steps with `tokens` tokens are done: a pure function,
/// so that a restart goes on exactly.
double learning_rate(const OptimizerConfig&, const RunConfig&, int64_t step, int64_t tokens);

/// `lr`, but no more than the line from the peak to min_lr allows on which the share `left` is still to go.
double falling_with(double left, const OptimizerConfig&, double lr);

/// The rate that the next step takes: both of the above, times what the stage makes of it.
double next_rate(const OptimizerConfig&, const RunConfig&, const Curriculum&, const TrainState&);

class Optimizer {
 public:
  Optimizer(Queue&, Params&, Range shard, const OptimizerConfig&);
  static int64_t bytes(DType, int64_t shard);

  /// The `update`-th update (from 1). grad_scale turns sums of gradients into means, clipping included.
  void step(double lr, int64_t update, double grad_scale);
  /// Factor of clipping by global norm: min(1, clip / norm), 1 when clipping is off.
  double clipping(double norm) const;

  View<> m() const { return m_; }  ///< [shard]
  View<> v() const { return v_; }

 private:
  Queue& queue_;
  Params& params_;
  Range shard_;
  OptimizerConfig config_;
  Arena arena_;
  View<> m_, v_;
  std::vector<Range> decayed_;  ///< of the shard
};

}  // namespace memring
