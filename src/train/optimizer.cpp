// SPDX-License-Identifier: Apache-2.0
#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace memring {

double learning_rate(const OptimizerConfig& c, int64_t step, int64_t steps) {
  if (step < c.warmup) return c.lr * static_cast<double>(step + 1) / static_cast<double>(c.warmup);
  if (steps <= c.warmup) return c.lr;
  const double done = static_cast<double>(std::min(step, steps) - c.warmup) / static_cast<double>(steps - c.warmup);
  if (c.schedule == "linear") return c.lr + (c.min_lr - c.lr) * done;
  if (c.schedule == "constant")
    return done <= 1 - c.decay ? c.lr : c.lr + (c.min_lr - c.lr) * (done - (1 - c.decay)) / c.decay;
  return c.min_lr + (c.lr - c.min_lr) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

double falling_with(double left, const OptimizerConfig& c, double lr) {
  return std::min(lr, c.min_lr + (c.lr - c.min_lr) * left);
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
      arena_(bytes(params.dtype(), shard.size())),
      m_(arena_.take(params.dtype(), {shard.size()})),
      v_(arena_.take(params.dtype(), {shard.size()})) {}

double Optimizer::clipping(double norm) const {
  return config_.clip > 0 && norm > config_.clip ? config_.clip / norm : 1;
}

void Optimizer::step(double lr, int64_t update, double grad_scale) {
  AdamW::Settings settings{.lr = lr,
                           .beta1 = config_.beta1,
                           .beta2 = config_.beta2,
                           .eps = config_.eps,
                           .weight_decay = 0,
                           .step = update,
                           .grad_scale = grad_scale};
  const auto& entries = params_.layout().entries;
  for (size_t i = 0; i < entries.size(); ++i) {
    const int64_t begin = std::max(entries[i].offset, shard_.begin);
    const int64_t end = std::min(entries[i].offset + entries[i].shape.elements(), shard_.end);
    if (begin >= end) continue;
    settings.weight_decay = params_.decays(static_cast<int>(i)) ? config_.weight_decay : 0;
    AdamW::step(queue_, params_.weights().rows(begin, end - begin), m_.rows(begin - shard_.begin, end - begin),
                v_.rows(begin - shard_.begin, end - begin), params_.gradients().rows(begin, end - begin), settings);
  }
}

}  // namespace memring
