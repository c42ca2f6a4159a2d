// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include <cmath>

#include "base/error.h"

namespace memring {

CellSaved CellSaved::carve(Arena& arena, const ModelShape& shape, DType dtype, CellExtent extent) {
  CellSaved saved;
  for (int64_t i = 0; i < shape.layers; ++i) {
    const View<> input = arena.take(dtype, {extent.total(), shape.dim});
    saved.layers.push_back(LayerSaved::carve(arena, shape, dtype, extent, input));
  }
  saved.carve_top(arena, shape, dtype, extent);
  return saved;
}

CellSaved CellSaved::carve_passing(Arena& arena, const ModelShape& shape, DType dtype, CellExtent extent,
                                   View<> hidden) {
  CellSaved saved;
  saved.layers.push_back(LayerSaved::carve(arena, shape, dtype, extent, hidden));
  saved.carve_top(arena, shape, dtype, extent);
  return saved;
}

void CellSaved::carve_top(Arena& arena, const ModelShape& shape, DType dtype, CellExtent extent) {
  top = arena.take(dtype, {extent.total(), shape.dim});
  inv_rms = arena.take(dtype, {extent.total()});
  normed = arena.take(dtype, {extent.total(), shape.dim});
}

Llama::Llama(const ModelShape& shape, Params& params) : shape_(shape) {
  // GPT-2's scheme (Radford et al. 2019): what writes to the residual stream starts smaller, by the number of its
  // writers.
  const Init normal{.std = shape.init_std},
      residual{.std = shape.init_std / std::sqrt(2.0 * static_cast<double>(shape.layers))}, gain{.constant = 1};
  const int64_t q = shape.heads * shape.head_dim, kv = shape.kv_heads * shape.head_dim;

  embedding_ =
      params.declare("model.embed_tokens.weight", {shape.vocab, shape.dim}, {.std = shape.embedding_std}, true);
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string name = fmt::format("model.layers.{}.", i);
    LayerTensors t;
    t.input_norm = params.declare(name + "input_layernorm.weight", {shape.dim}, gain, false);
    t.q.weight = params.declare(name + "self_attn.q_proj.weight", {q, shape.dim}, normal, true);
    t.k.weight = params.declare(name + "self_attn.k_proj.weight", {kv, shape.dim}, normal, true);
    t.v.weight = params.declare(name + "self_attn.v_proj.weight", {kv, shape.dim}, normal, true);
    t.o.weight = params.declare(name + "self_attn.o_proj.weight", {shape.dim, q}, residual, true);
    t.post_norm = params.declare(name + "post_attention_layernorm.weight", {shape.dim}, gain, false);
    t.gate.weight = params.declare(name + "mlp.gate_proj.weight", {shape.ffn, shape.dim}, normal, true);
    t.up.weight = params.declare(name + "mlp.up_proj.weight", {shape.ffn, shape.dim}, normal, true);
    t.down.weight = params.declare(name + "mlp.down_proj.weight", {shape.dim, shape.ffn}, residual, true);
    layers_.emplace_back(shape, t);
  }
  final_norm_ = params.declare("model.norm.weight", {shape.dim}, gain, false);
  head_ = shape.tied ? embedding_ : params.declare("lm_head.weight", {shape.vocab, shape.dim}, normal, true);
}

Range Llama::trained(const Params& params, int64_t layer) const {
  const LayerTensors& t = layers_[static_cast<size_t>(layer)].tensors();
  Range range;
  for (int tensor = t.input_norm; tensor <= t.down.weight; ++tensor) {
    if (!params.trained(tensor)) continue;
    const FlatEntry& entry = params.layout().entries[static_cast<size_t>(tensor)];
    if (range.size() == 0) range.begin = entry.offset;
    range.end = entry.offset + entry.shape.elements();
  }
  return range;
}

}  // namespace memring
