// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace memring {

namespace {

double ratio(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

/// How far a run has come on its way from the end of warm-up to its own, 0 to 1.
double decayed(const RunConfig& run, int64_t warmup, int64_t step, int64_t tokens) {
  double done = 0;
  if (run.steps > warmup) done = ratio(std::min(step, run.steps) - warmup, run.steps - warmup);
  if (run.tokens > 0 && tokens < run.tokens) {
    // Warm-up counts steps: of the tokens so far it has had warmup / step, exactly so where all steps are of one size.
    const double before = warmup > 0 ? static_cast<double>(tokens) * ratio(warmup, step) : 0;
    done = std::max(done, (static_cast<double>(tokens) - before) / (static_cast<double>(run.tokens) - before));
  } else if (run.tokens > 0) {
    done = 1;
  }
  return done;
}

}  // namespace

double learning_rate(const OptimizerConfig& c, const RunConfig& run, int64_t step, int64_t tokens) {
  if (step < c.warmup) return c.lr * ratio(step + 1, c.warmup);
  if (run.steps <= c.warmup && run.tokens == 0) return c.lr;
  const double done = decayed(run, c.warmup, step, tokens);
  if (c.schedule == RateSchedule::Linear) return c.lr + (c.min_lr - c.lr) * done;
  if (c.schedule == RateSchedule::Constant)
    return done <= 1 - c.decay ? c.lr : c.lr + (c.min_lr - c.lr) * (done - (1 - c.decay)) / c.decay;
  return c.min_lr + (c.lr - c.min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

double falling_with(double left, const OptimizerConfig& c, double lr) {
  return std::min(lr, c.min_lr + (c.lr - c.min_lr) * left);
}

double next_rate(const OptimizerConfig& c, const RunConfig& run, const Curriculum& curriculum,
                 const TrainState& state) {
  return falling_with(curriculum.left(state), c, learning_rate(c, run, state.step, state.tokens)) *
         curriculum.rate(state);
}

int64_t Optimizer::bytes(DType dtype, int64_t shard) {
  Arena measure;
  measure.take(dtype, {shard});
  measure.take(dtype, {shard});
  return measure.peak();
}

Optimizer::Optimizer(Queue& queue, Params& params, Range shard, const OptimizerConfig& config)
    : queue_(queue),
      params_(params),
      shard_(shard),
      config_(config),
      arena_(queue.arena(bytes(params.dtype(), shard.size()))),
      m_(arena_.take(params.dtype(), {shard.size()})),
      v_(arena_.take(params.dtype(), {shard.size()})) {
  const auto& entries = params.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const int64_t begin = std::max(entries[i].offset, shard.begin) - shard.begin;
    const int64_t end = std::min(entries[i].offset + entries[i].shape.elements(), shard.end) - shard.begin;
    if (begin >= end || !params.decays(static_cast<int>(i))) continue;
    decayed_.push_back({begin, end});
  }
  std::ranges::sort(decayed_, {}, &Range::begin);
}

double Optimizer::clipping(double norm) const {
  return config_.clip > 0 && norm > config_.clip ? config_.clip / norm : 1;
}

void Optimizer::step(double lr, int64_t update, double grad_scale) {
  const auto shard = [&](auto view) { return view.rows(shard_.begin, shard_.size()); };
  AdamW::step(queue_, shard(params_.weights()), {}, m_, v_, shard(params_.rounded_grads()), decayed_,
              {.lr = lr,
               .beta1 = config_.beta1,
               .beta2 = config_.beta2,
               .eps = config_.eps,
               .weight_decay = config_.weight_decay,
               .step = update,
               .grad_scale = grad_scale});
}

}  // namespace memring
