// One decoder layer of Llama (Touvron et al. 2023): attention and gated MLP, each behind an RMSNorm, each added to the
// residual stream. Forward, then backward.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>

#include "base/arena.h"
#include "base/ids.h"
#include "kernels/attention/attention.h"
#include "kernels/common/product_copies.h"
#include "kernels/projections/projections.h"
#include "model/params.h"
#include "model/projection.h"
#include "model/shape.h"

namespace memring {

/// Extents of one cell: `batch` sequences of `rows` rows each (all rows of the layout, memory included).
struct CellExtent {
  int64_t batch = 0, rows = 0;
  int64_t total() const { return batch * rows; }
};

/// A layer's tensors in Params.
struct LayerTensors {
  int input_norm = 0, post_norm = 0;
  Projection q, k, v, o, gate, up, down;
};

inline constexpr Projection LayerTensors::*kProjections[] = {&LayerTensors::q,   &LayerTensors::k,    &LayerTensors::v,
                                                             &LayerTensors::o,   &LayerTensors::gate, &LayerTensors::up,
                                                             &LayerTensors::down};

/// What a layer's forward leaves for its backward (n = batch * rows; m = batch * queries).
struct LayerSaved {
  View<> input, normed, inv_rms;             // [n, dim], [n, dim], [n]
  View<> k, v;                               // head-major: [batch, kv_heads, rows, head_dim]
  View<> q, o, lse;                          // head-major: [batch, heads, queries, head_dim]; lse without head_dim
  View<> middle, middle_normed, middle_inv;  // after the attention branch: [m, dim], [m, dim], [m]
  View<> gate, up;                           // [min(m, kMlpRows), ffn]

  /// For as many queries as rows.
  static LayerSaved carve(Arena&, const ModelShape&, DType, CellExtent, View<> input);
  /// The same memory for fewer queries.
  LayerSaved with_queries(int64_t queries) const;
};

/// The MLP runs in chunks of this many rows. A cell of one chunk keeps gate and up for backward; a longer one rebuilds
/// them chunk by chunk, so that nothing of the size ffn x sequence is ever stored.
inline constexpr int64_t kMlpRows = 8192;

/// The rows of a cell as a layer sees them: all of them are keys, and those whose output is wanted ask.
struct LayerRows {
  RowTable keys;
  RopeAngles angles;
  RowTable queries;
  Projections::Queries asking;  ///< which of the keys the queries are
};

/// Adds to the gradient of a layer's own keys and values [batch, kv_heads, rows, head_dim] what reaches them on other
/// ways than its attention; empty: nothing does.
using AddKeyGradients = std::function<void(View<> dk, View<> dv)>;

class Layer {
 public:
  Layer(const ModelShape& shape, const LayerTensors& tensors) : shape_(shape), tensors_(tensors) {}

  const LayerTensors& tensors() const { return tensors_; }

  /// What forward, or forward and backward, take from `scratch` at the most; with updates of its projections up to
  /// this rank.
  static int64_t scratch_bytes(const ModelShape&, int64_t lora_rank, DType, CellExtent, bool backward);

  /// What they need of their thread.
  static ProductCopies copies(const ModelShape&, int64_t lora_rank, CellExtent, bool backward);

  /// output [m, dim] may be saved.input when nothing is kept for backward and each row asks. `before`: key spans that
  /// the memory puts in front of the segment's own. Scratch comes from the arena and is given back.
  void forward(Queue&, const Params&, AttentionExecutor&, const LayerSaved& saved, View<> output, CellExtent,
               const LayerRows&, std::span<const KeySpan> before, Arena& scratch) const;

  /// d_output [m, dim]: gradient of the output in, spent. d_input [n, dim]: of the input out; d_output itself where
  /// each row asks. Parameter gradients are accumulated. Spends what is saved of gate and up: once only.
  void backward(Queue&, const Params&, AttentionExecutor&, const LayerSaved& saved, View<> d_output, View<> d_input,
                CellExtent, const LayerRows&, std::span<const KeySpan> before, const AddKeyGradients&,
                Arena& scratch) const;

 private:
  void mlp_forward(Queue&, const Params&, const LayerSaved&, View<> output, Arena& scratch) const;
  void mlp_backward(Queue&, const Params&, const LayerSaved&, View<> d_hidden, Arena& scratch) const;

  ModelShape shape_;
  LayerTensors tensors_;
};

}  // namespace memring
