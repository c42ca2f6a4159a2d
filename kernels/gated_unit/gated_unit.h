// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/linear_layer/linear_layer.h"

namespace memring {

/// Gated linear unit (Shazeer 2020): y = silu(gate) * up (SwiGlu), gate and up linear layers of x (LinearLayer: each
/// with a bias or a low-rank update where a model has them).
///
/// fp32 or fp64, all views alike, but that gradients of weights may be exact sums; or bf16, and those are fp32. No rows
/// are legal: gradients of weights stay, nothing is written. Throws ShapeError when the shapes below do not hold.
/// `scratch` is taken for the call and given back: LinearLayer::scratch_bytes for the larger rank.
struct GatedUnit {
  struct Parts {
    View<> gate, up;
  };
  struct Weights {
    LinearLayer::Weights gate, up;
  };
  struct Gradients {
    LinearLayer::Gradients gate, up;
  };
  // x, dx [rows, dim] · y, parts [rows, ffn] · weights, d_weights: of layers from dim to ffn

  // gate and up alone: what backward needs where forward's were not kept
  static void products(Queue&, const Parts& parts, ConstView<> x, const Weights&, Arena& scratch);

  static void forward(Queue&, View<> y, const Parts& parts, ConstView<> x, const Weights&, Arena& scratch);

  // dx is written, of gate and up in this order; d_weights are accumulated. y comes as its gradient and leaves as
  // itself (the layer behind needs it for its weight gradient); parts are spent: they leave as their gradients
  static void backward(Queue&, View<> dx, const Gradients& d_weights, View<> y, const Parts& parts, ConstView<> x,
                       const Weights&, Arena& scratch);
};

}  // namespace memring
