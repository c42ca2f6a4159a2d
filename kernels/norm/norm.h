// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Sum of squares in double. Blocks of a fixed size are summed in ascending order: same bits for any thread count.
/// The global gradient norm is the square root of its sum over all ranks' shards.
struct SquaredNorm {
  static double of(Queue&, ConstView<> x);  // x any shape, fp32 or fp64; 0 when empty; NaN and Inf pass through
};

}  // namespace memring
