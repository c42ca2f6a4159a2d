// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/arena.h"
#include "base/queue.h"
#include "kernels/linear_layer/linear_layer.h"
#include "kernels/rope/rope.h"

namespace memring {

/// From a layer's normed rows to attention's queries, keys and values: a linear layer each (LinearLayer: with a bias or
/// a low-rank update where a model has them), moved to the head-major layout; queries and keys rotated there (Rope). In
/// front of the rotation each head's numbers of a query or key may be normed (RmsNorm, with one gain for all heads; as
/// Qwen3 does). Some rows of each sequence may be those of the queries.
///
/// fp32 or fp64, all views alike, but that gradients of weights may be exact sums; or bf16, and those and angles are
/// fp32. No rows are legal: gradients of weights stay, nothing is written. Throws ShapeError when the shapes below do
/// not hold. `scratch` is taken for the call and given back; `scratch_bytes` says how much of it.
///
/// Backward makes what is normed once more, a fourth product of these layers: keeping it would take the memory of q and
/// k for every segment of every layer.
struct Projections {
  struct Parts {
    View<> q, k, v;
  };
  struct ConstParts {
    ConstView<> q, k, v;
  };
  struct Weights {
    LinearLayer::Weights q, k, v;
    ConstView<> q_norm = {}, k_norm = {};  // gains [head_dim], or empty: not normed
    double norm_eps = 0;
  };
  /// What is empty is frozen.
  struct Gradients {
    LinearLayer::Gradients q, k, v;
    View<> q_norm = {}, k_norm = {};
  };
  /// Which rows of a sequence have a query, and their angles; no rows: each, with the keys' angles.
  struct Queries {
    std::span<const int32_t> rows;
    RopeAngles angles;
  };
  // out, d_out: q [batch, heads, queries, head_dim], k and v [batch, kv_heads, rows, head_dim] · normed, d_normed
  // [batch * rows, dim] · weights, d_weights: of layers from dim, q to heads * head_dim, k and v to kv_heads * head_dim
  // · angles [batch or 1, rows, head_dim / 2], of queries [batch or 1, queries, head_dim / 2]

  struct Widths {
    int64_t dim, heads, kv_heads, head_dim;
    int64_t lora_rank = 0;  ///< the largest
    bool norms = false;     ///< of queries or keys
  };
  /// For so many rows and queries of all sequences.
  static int64_t scratch_bytes(DType, int64_t rows, int64_t queries, const Widths&, bool backward);

  static void forward(Queue&, const Parts& out, ConstView<> normed, const Weights&, RopeAngles, const Queries&,
                      Arena& scratch);

  // d_normed is written, of q, k and v in this order; d_weights are accumulated
  static void backward(Queue&, View<> d_normed, const Gradients& d_weights, const ConstParts& d_out, ConstView<> normed,
                       const Weights&, RopeAngles, const Queries&, Arena& scratch);
};

}  // namespace memring
