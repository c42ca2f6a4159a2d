// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "base/queue.h"
#include "kernels/common/product_copies.h"
#include "kernels/common/write.h"

namespace memring {

/// A linear layer with what a model may add to its weight: a bias, and a low-rank update of the weight (LoRA, Hu et
/// al. 2021, eq. 3):   y = x Wᵀ + bias + scale (x Aᵀ) Bᵀ.   Without either it is Linear, bit for bit.
///
/// fp32 or fp64, all views alike, but that gradients of parameters may be exact sums; or bf16, and those are fp32; x Aᵀ
/// and, behind each of its terms, y are rounded. No rows are legal: gradients of parameters stay, nothing is written.
/// Throws ShapeError when the shapes below do not hold. `scratch` is taken for the call and given back; `scratch_bytes`
/// says how much of it: none without a low-rank update.
///
/// Backward makes x Aᵀ and its gradient wherever it needs them, so that forward keeps nothing: each time costs rank /
/// in or rank / out of the product with W.
struct LinearLayer {
  struct Weights {
    ConstView<> weight;                    // W [out, in]
    ConstView<> bias = {};                 // [out], or empty: none
    ConstView<> lora_a = {}, lora_b = {};  // A [rank, in] and B [out, rank], or both empty: no update
    double lora_scale = 1;                 // alpha / rank
  };
  /// Of the same shapes. What is empty is frozen, and nothing is computed for it.
  struct Gradients {
    View<> weight = {}, bias = {}, lora_a = {}, lora_b = {};
  };

  /// Check a layer from `in` numbers of this type to `out`, and gradients of it: for fronts of what is made of layers.
  static void expect(const Weights&, DType, int64_t out, int64_t in);
  static void expect(const Gradients&, const Weights&);

  /// Of any of the three, for updates up to this rank.
  static int64_t scratch_bytes(DType, int64_t rows, int64_t rank);
  /// What forward, or all of them, need of their thread.
  static ProductCopies copies(int64_t rows, int64_t in, int64_t out, int64_t rank, bool backward);

  // y [rows, out] = (+=) layer of x [rows, in]
  static void forward(Queue&, View<> y, Write, ConstView<> x, const Weights&, Arena& scratch);
  // dx [rows, in] = (+=) dy [rows, out] (W + scale B A)
  static void input_gradient(Queue&, View<> dx, Write, ConstView<> dy, const Weights&, Arena& scratch);
  // accumulated; the bias gets one row after another, the others are sums as Linear's
  static void weight_gradients(Queue&, const Gradients&, ConstView<> dy, ConstView<> x, const Weights&, Arena& scratch);
};

}  // namespace memring
