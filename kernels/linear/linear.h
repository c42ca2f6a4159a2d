// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/product_copies.h"
#include "kernels/common/write.h"

namespace memring {

/// Linear layer without bias, weights stored as in PyTorch: y = x Wᵀ with W [out, in].
///
/// fp32 or fp64, all views alike; or bf16, and then gradients of weights are fp32, and outputs may be. With
/// Products::Bf16 the operands of each product are rounded to bf16 (nearest even) and summed in fp32; results are fp32.
/// rows == 0 is legal: outputs that are accumulated stay, nothing is written.
struct Linear {
  // y [rows, out] = (+=) x [rows, in] · w [out, in]
  static void forward(Queue&, View<> y, Write write, ConstView<> x, ConstView<> w);
  // dx [rows, in] = (+=) dy [rows, out] W
  static void input_gradient(Queue&, View<> dx, Write write, ConstView<> dy, ConstView<> w);
  // dw [out, in] += dyᵀ x; dw may be exact sums, which get one term for each canonical block of rows; or empty: the
  // weight is frozen, and nothing is computed
  static void weight_gradient(Queue&, View<> dw, ConstView<> dy, ConstView<> x);

  /// What forward, or all of them, need of their thread.
  static ProductCopies copies(int64_t rows, int64_t in, int64_t out, bool backward);
};

}  // namespace memring
