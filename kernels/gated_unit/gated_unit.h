// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Gated linear unit (Shazeer 2020): y = silu(gate) * up (SwiGlu), gate = x Wᵀ and up = x Vᵀ (Linear), with W and V
/// [ffn, dim].
///
/// fp32 or fp64, all views alike, but that gradients of weights may be exact sums; or bf16, and those are fp32. No rows
/// are legal: gradients of weights stay, nothing is written. Throws ShapeError when the shapes below do not hold.
struct GatedUnit {
  struct Parts {
    View<> gate, up;
  };
  struct ConstParts {
    ConstView<> gate, up;
  };
  // x, dx [rows, dim] · y, parts [rows, ffn] · weights, d_weights [ffn, dim]

  // gate and up alone: what backward needs where forward's were not kept
  static void products(Queue&, const Parts& parts, ConstView<> x, const ConstParts& weights);

  static void forward(Queue&, View<> y, const Parts& parts, ConstView<> x, const ConstParts& weights);

  // dx is written, of gate and up in this order; d_weights are accumulated. y comes as its gradient and leaves as
  // itself (the layer behind needs it for its weight gradient); parts are spent: they leave as their gradients
  static void backward(Queue&, View<> dx, const Parts& d_weights, View<> y, const Parts& parts, ConstView<> x,
                       const ConstParts& weights);
};

}  // namespace memring
