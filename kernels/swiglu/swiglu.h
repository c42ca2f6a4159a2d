// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Gated activation (Shazeer 2020): y = silu(gate) * up, silu(x) = x / (1 + exp(-x)). Element-wise; fp32, fp64 or bf16.
struct SwiGlu {
  // y, gate, up [rows, ffn]
  static void forward(Queue&, View<> y, ConstView<> gate, ConstView<> up);
  // d_gate, d_up and y (forward's output once more: the layer behind needs it for its weight gradient, and one pass
  // gives all three) are written; each may be dy, gate or up itself
  static void backward(Queue&, View<> d_gate, View<> d_up, View<> y, ConstView<> dy, ConstView<> gate, ConstView<> up);
};

}  // namespace memring
