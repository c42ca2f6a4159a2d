// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring {

/// Root-mean-square normalisation (Zhang & Sennrich 2019, eq. 4):  y = x / rms(x) * gain,  rms(x) = sqrt(mean(x²) +
/// eps).
///
/// Rows are independent. `inv_rms` is kept for backward, so nothing is recomputed there.
/// Empty input (rows == 0) is legal and does nothing. Throws ShapeError when the shapes or types below do not hold.
/// All views have the same type, fp32 or fp64; or bf16, with inv_rms and dgain in fp32.
struct RmsNorm {
  // x, y [rows, dim] (y may be x) · gain [dim] · inv_rms [rows]
  static void forward(Queue&, View<> y, View<> inv_rms, ConstView<> x, ConstView<> gain, double eps);

  // dx is written or accumulated as `write` says (accumulate: the residual stream's gradient is already there), and may
  // be dy when written; dgain is accumulated, rows in an order that their number alone decides: same bits for any
  // thread count. It may be exact sums; or empty: the gain is frozen
  static void backward(Queue&, View<> dx, Write write, View<> dgain, ConstView<> dy, ConstView<> x, ConstView<> gain,
                       ConstView<> inv_rms);
};

}  // namespace memring
