// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// AdamW (Loshchilov & Hutter 2019, algorithm 2) on a shard of the parameters; moments start at 0:
///   g = grad · grad_scale;  m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²
///   w -= lr · (m / (1-β1ᵗ) / (sqrt(v / (1-β2ᵗ)) + eps) + weight_decay · w)
struct AdamW {
  struct Settings {
    double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
    int64_t step = 1;       ///< t, from 1: bias correction
    double grad_scale = 1;  ///< 1 / counted targets, times the clipping factor
  };
  /// w, m, v, grad [n], fp32 or fp64, all alike; w, m, v are updated in place. `working`: empty, or bf16 [n], which
  /// gets w rounded. Weights outside of the `decayed` ranges, ascending and apart, do not decay.
  static void step(Queue&, View<> w, View<> working, View<> m, View<> v, ConstView<> grad,
                   std::span<const Range> decayed, const Settings&);
};

}  // namespace memring
