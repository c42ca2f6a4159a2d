// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "base/queue.h"

namespace memring {

/// From a layer's normed rows to attention's queries, keys and values: a linear layer each (Linear), moved to the
/// head-major layout; queries and keys rotated there (Rope).
///
/// fp32 or fp64, all views alike, but that gradients of weights may be exact sums. No rows are legal: gradients of
/// weights stay, nothing is written. Throws ShapeError when the shapes below do not hold. `scratch` is taken for the
/// call and given back; `scratch_bytes` says how much of it.
struct Projections {
  struct Parts {
    View<> q, k, v;
  };
  struct ConstParts {
    ConstView<> q, k, v;
  };
  // out, d_out: q [batch, heads, rows, head_dim], k and v [batch, kv_heads, rows, head_dim] · normed, d_normed
  // [batch * rows, dim] · weights, d_weights: q [heads * head_dim, dim], k and v [kv_heads * head_dim, dim] · cos, sin
  // [rows, head_dim / 2]

  static int64_t scratch_bytes(DType, int64_t batch_rows, int64_t heads, int64_t kv_heads, int64_t head_dim);

  static void forward(Queue&, const Parts& out, ConstView<> normed, const ConstParts& weights, ConstView<> cos,
                      ConstView<> sin, Arena& scratch);

  // d_normed is written, of q, k and v in this order; d_weights are accumulated
  static void backward(Queue&, View<> d_normed, const Parts& d_weights, const ConstParts& d_out, ConstView<> normed,
                       const ConstParts& weights, ConstView<> cos, ConstView<> sin, Arena& scratch);
};

}  // namespace memring
