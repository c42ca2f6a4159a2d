// One decoder layer of Llama (Touvron et al. 2023): attention and gated MLP, each behind an RMSNorm, each added to the
// residual stream. Forward, then backward.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/arena.h"
#include "base/ids.h"
#include "kernels/attention/attention.h"
#include "model/params.h"
#include "model/shape.h"

namespace memring {

/// Extents of one cell: `batch` sequences of `rows` rows each (all rows of the layout, memory included).
struct CellExtent {
  int64_t batch = 0, rows = 0;
  int64_t total() const { return batch * rows; }
};

/// The numbers of a layer's tensors in Params.
struct LayerTensors {
  int input_norm = 0, q = 0, k = 0, v = 0, o = 0, post_norm = 0, gate = 0, up = 0, down = 0;
};

/// What a layer's forward leaves for its backward (n = batch * rows).
struct LayerSaved {
  View<> input, normed, inv_rms;  // [n, dim], [n, dim], [n]
  View<> q, k, v, o,
      lse;  // head-major: [batch, heads, rows, head_dim], k and v with kv_heads; lse [batch, heads, rows]
  View<> middle, middle_normed, middle_inv;  // after the attention branch: [n, dim], [n, dim], [n]
  View<> gate, up;                           // [min(n, kMlpRows), ffn]

  static LayerSaved carve(Arena&, const ModelShape&, DType, CellExtent, View<> input);
};

/// The MLP runs in chunks of this many rows. A cell of one chunk keeps gate and up for backward; a longer one rebuilds
/// them chunk by chunk, so that nothing of the size ffn x sequence is ever stored.
inline constexpr int64_t kMlpRows = 8192;

/// Rotary angles of a cell's rows: [rows, head_dim / 2] each.
struct RopeAngles {
  ConstView<> cos, sin;
};

class Layer {
 public:
  Layer(const ModelShape& shape, const LayerTensors& tensors) : shape_(shape), tensors_(tensors) {}

  const LayerTensors& tensors() const { return tensors_; }

  /// What forward, or forward and backward, take from `scratch` at the most.
  static int64_t scratch_bytes(const ModelShape&, DType, CellExtent, bool backward);

  /// output [n, dim] may be saved.input when nothing is kept for backward. `before`: key spans that the memory puts in
  /// front of the segment's own. Scratch comes from the arena and is given back.
  void forward(Queue&, const Params&, AttentionExecutor&, const LayerSaved& saved, View<> output, CellExtent,
               std::span<const Row> rows, RopeAngles, std::span<const KeySpan> before, Arena& scratch) const;

  /// d_hidden [n, dim]: gradient of the output in, of the input out. Parameter gradients are accumulated. Spends what
  /// is saved of gate and up: once only.
  void backward(Queue&, const Params&, AttentionExecutor&, const LayerSaved& saved, View<> d_hidden, CellExtent,
                std::span<const Row> rows, RopeAngles, std::span<const KeySpan> before, Arena& scratch) const;

 private:
  void mlp_forward(Queue&, const Params&, const LayerSaved&, View<> output, Arena& scratch) const;
  void mlp_backward(Queue&, const Params&, const LayerSaved&, View<> d_hidden, Arena& scratch) const;

  ModelShape shape_;
  LayerTensors tensors_;
};

}  // namespace memring
