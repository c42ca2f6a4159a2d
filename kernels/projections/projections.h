// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/arena.h"
#include "base/queue.h"
#include "kernels/rope/rope.h"

namespace memring {

/// From a layer's normed rows to attention's queries, keys and values: a linear layer each (Linear), moved to the
/// head-major layout; queries and keys rotated there (Rope). Some rows of each sequence may be those of the queries.
///
/// fp32 or fp64, all views alike, but that gradients of weights may be exact sums; or bf16, and those and angles are
/// fp32. No rows are legal: gradients of weights stay, nothing is written. Throws ShapeError when the shapes below do
/// not hold. `scratch` is taken for the call and given back; `scratch_bytes` says how much of it.
struct Projections {
  struct Parts {
    View<> q, k, v;
  };
  struct ConstParts {
    ConstView<> q, k, v;
  };
  /// Which rows of a sequence have a query, and their angles; no rows: each, with the keys' angles.
  struct Queries {
    std::span<const int32_t> rows;
    RopeAngles angles;
  };
  // out, d_out: q [batch, heads, queries, head_dim], k and v [batch, kv_heads, rows, head_dim] · normed, d_normed
  // [batch * rows, dim] · weights, d_weights: q [heads * head_dim, dim], k and v [kv_heads * head_dim, dim] · angles
  // [batch or 1, rows, head_dim / 2], of queries [batch or 1, queries, head_dim / 2]

  struct Widths {
    int64_t dim, heads, kv_heads, head_dim;
  };
  /// For so many rows and queries of all sequences.
  static int64_t scratch_bytes(DType, int64_t rows, int64_t queries, const Widths&, bool backward);

  static void forward(Queue&, const Parts& out, ConstView<> normed, const ConstParts& weights, RopeAngles,
                      const Queries&, Arena& scratch);

  // d_normed is written, of q, k and v in this order; d_weights are accumulated
  static void backward(Queue&, View<> d_normed, const Parts& d_weights, const ConstParts& d_out, ConstView<> normed,
                       const ConstParts& weights, RopeAngles, const Queries&, Arena& scratch);
};

}  // namespace memring
