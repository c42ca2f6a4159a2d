// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include <algorithm>
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

  // The update starts at zero, since B does. A is normal with the variance of PEFT's Kaiming-uniform, 1 / (3 in).
  const auto projection = [&](LoraTarget target, const std::string& name, int64_t out, int64_t in, Init init) {
    Projection p{.weight = params.declare(name + ".weight", {out, in}, init, true)};
    if (!shape.lora.on(target)) return p;
    const double std = std::sqrt(1 / (3 * static_cast<double>(in)));
    p.lora_a = params.declare(name + ".lora_A.weight", {shape.lora.rank, in}, {.std = std, .adapter = true}, true);
    p.lora_b = params.declare(name + ".lora_B.weight", {out, shape.lora.rank}, {.adapter = true}, true);
    p.scale = shape.lora.scale;
    return p;
  };

  embedding_ =
      params.declare("model.embed_tokens.weight", {shape.vocab, shape.dim}, {.std = shape.embedding_std}, true);
  for (int64_t i = 0; i < shape.layers; ++i) {
    const std::string name = fmt::format("model.layers.{}.", i);
    LayerTensors t;
    t.input_norm = params.declare(name + "input_layernorm.weight", {shape.dim}, gain, false);
    t.q = projection(LoraTarget::Q, name + "self_attn.q_proj", q, shape.dim, normal);
    t.k = projection(LoraTarget::K, name + "self_attn.k_proj", kv, shape.dim, normal);
    t.v = projection(LoraTarget::V, name + "self_attn.v_proj", kv, shape.dim, normal);
    t.o = projection(LoraTarget::O, name + "self_attn.o_proj", shape.dim, q, residual);
    t.post_norm = params.declare(name + "post_attention_layernorm.weight", {shape.dim}, gain, false);
    t.gate = projection(LoraTarget::Gate, name + "mlp.gate_proj", shape.ffn, shape.dim, normal);
    t.up = projection(LoraTarget::Up, name + "mlp.up_proj", shape.ffn, shape.dim, normal);
    t.down = projection(LoraTarget::Down, name + "mlp.down_proj", shape.dim, shape.ffn, residual);
    layers_.emplace_back(shape, t);
  }
  final_norm_ = params.declare("model.norm.weight", {shape.dim}, gain, false);
  head_ = shape.tied ? embedding_ : params.declare("lm_head.weight", {shape.vocab, shape.dim}, normal, true);
}

Llama Llama::without_trained_updates(const Params& params) const {
  Llama base = *this;
  base.layers_.clear();
  for (const Layer& layer : layers_) {
    LayerTensors tensors = layer.tensors();
    for (const auto part : kProjections) {
      Projection& projection = tensors.*part;
      if (projection.lora_a >= 0 && (params.trained(projection.lora_a) || params.trained(projection.lora_b)))
        projection = {.weight = projection.weight};
    }
    base.layers_.emplace_back(shape_, tensors);
  }
  return base;
}

Range Llama::trained(const Params& params, int64_t layer) const {
  const LayerTensors& t = layers_[static_cast<size_t>(layer)].tensors();
  Range range;
  for (int tensor = t.input_norm; tensor <= std::max(t.down.weight, t.down.lora_b); ++tensor) {
    if (!params.trained(tensor)) continue;
    const FlatEntry& entry = params.layout().entries[static_cast<size_t>(tensor)];
    if (range.size() == 0) range.begin = entry.offset;
    range.end = entry.offset + entry.shape.elements();
  }
  return range;
}

}  // namespace memring
