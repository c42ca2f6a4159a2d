// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Losses of single targets as a sum in double, in ascending order. With canonical blocks (run.deterministic = strict)
/// each is rounded to a grid on which sums in double are exact, and so the same in any order, up to 2^29 (a hundred
/// million tokens at 5 nats).
struct LossSum {
  // sum [1] += losses [rows], fp32 or fp64
  static void add(Queue&, View<double> sum, ConstView<> losses);
};

}  // namespace memring
