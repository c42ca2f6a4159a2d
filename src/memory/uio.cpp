// UIO: memories of segments as keys and values of all later ones (Li et al. 2024, "UIO-LLMs: Unbiased Incremental
// Optimization for Long-Context LLMs"). A segment is encoded by itself, as [ text n | m times the memory token ], by
// the decoder's own layers with a low-rank update of q and v; of each layer's input the memory rows, normed, are its
// memory there. The transfer head, the layer's k and v with an update of their own, makes them keys and values, which
// stand in front of every later segment's. Conventions: tests/golden/README.md.
//
// Keys and values are made once, where the segment is encoded, and rotated there: they have the same positions for all
// who see them. So what all losses send to them is summed before the transfer head takes it, twice where not all of it
// goes on into the segment: the head's own weights get everything, the memory what tbptt.mode lets through.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/heads/heads.h"
#include "kernels/linear_layer/linear_layer.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rows/rows.h"
#include "memory/mechanisms.h"
#include "model/projection.h"

namespace memring {
namespace {

/// What a layer's hooks keep for their backward: the memory rows of its input, wherever they are, [batch, m, dim].
struct Saved {
  View<> vectors;

  static Saved carve(Arena& arena, DType dtype, int64_t batch, int64_t m, int64_t dim) {
    return {arena.take(dtype, {batch, m, dim})};
  }
};

/// n = batch * m rows of memory.
struct TransferScratch {
  View<> vectors, inv_rms, normed;  // [batch, m, dim], [n], [n, dim]
  View<> k, v;                      // [n, kv_heads * head_dim]: what the head makes; backward: what it gets
  View<> d_normed, d_vectors;       // backward only: [n, dim]

  static TransferScratch carve(Arena& arena, const ModelShape& s, DType dtype, int64_t batch, int64_t m,
                               bool backward) {
    const int64_t n = batch * m, kv = s.kv_heads * s.head_dim;
    TransferScratch t;
    t.vectors = arena.take(dtype, {batch, m, s.dim});
    t.inv_rms = arena.take(dtype, {n});
    t.normed = arena.take(dtype, {n, s.dim});
    t.k = arena.take(dtype, {n, kv});
    t.v = arena.take(dtype, {n, kv});
    if (!backward) return t;
    t.d_normed = arena.take(dtype, {n, s.dim});
    t.d_vectors = arena.take(dtype, {n, s.dim});
    return t;
  }
};

class Uio final : public Memory {
 public:
  Uio(const MemorySettings& settings, const Llama& llama, Params& params)
      : reset_(settings.reset_each_segment),
        exact_sums_(settings.exact_sums),
        shape_(llama.shape()),
        m_(settings.tokens),
        rank_(settings.lora_rank),
        scale_(settings.lora_alpha / static_cast<double>(settings.lora_rank)) {
    // It starts as one more token would.
    token_ = params.declare("memory.token", {shape_.dim}, {.std = shape_.embedding_std}, false);
    const int64_t q = shape_.heads * shape_.head_dim, kv = shape_.kv_heads * shape_.head_dim;
    for (int64_t l = 0; l < shape_.layers; ++l) {
      LayerTensors encoder = llama.layer(l).tensors();
      encoder.q = with_update(params, fmt::format("memory.encoder.layers.{}.q_proj", l), encoder.q, q);
      encoder.v = with_update(params, fmt::format("memory.encoder.layers.{}.v_proj", l), encoder.v, kv);
      encoder_.emplace_back(shape_, encoder);
      const LayerTensors& base = llama.layer(l).tensors();
      transfer_.push_back({base.input_norm,
                           with_update(params, fmt::format("memory.transfer.layers.{}.k_proj", l), base.k, kv),
                           with_update(params, fmt::format("memory.transfer.layers.{}.v_proj", l), base.v, kv)});
    }
  }

  Dependency dependency() const override { return reset_ ? Dependency::None : Dependency::Append; }
  // Keys, then values.
  int64_t state_numbers(int64_t layer) const override { return layer < shape_.layers && !reset_ ? 2 * keys() : 0; }
  Layout layout(Pass pass, int32_t, int64_t text) const override {
    if (pass == Pass::Encode)
      return {.text = text, .back = memory_rows_of(MemoryKind::Uio, m_).back, .mask = MemoryMask::Prefix};
    return {.text = text, .sees_earlier = !reset_};
  }
  int64_t keys_before(int64_t segment) const override { return reset_ ? 0 : segment * m_; }
  int64_t first_position(Pass pass, int32_t segment) const override {
    return pass == Pass::Decode ? keys_before(segment) : 0;
  }
  const Layer* layer(const Llama& llama, Pass pass, int64_t layer) const override {
    if (pass == Pass::Decode) return &llama.layer(layer);
    // Nothing comes behind the last layer's memory rows as they enter it.
    return layer + 1 < shape_.layers ? &encoder_[static_cast<size_t>(layer)] : nullptr;
  }

  int64_t lora_rank() const override { return rank_; }

  int64_t saved_bytes(DType dtype, CellExtent e) const override {
    if (reset_) return 0;
    Arena arena;
    Saved::carve(arena, dtype, e.batch, m_, shape_.dim);
    return arena.peak();
  }
  int64_t scratch_bytes(DType dtype, CellExtent e, bool backward) const override {
    if (reset_) return 0;
    Arena arena;
    TransferScratch::carve(arena, shape_, dtype, e.batch, m_, backward);
    return arena.peak() + LinearLayer::scratch_bytes(dtype, e.batch * m_, rank_);
  }
  int64_t keys_bytes(DType dtype, CellExtent e, int64_t segments, bool backward) const override {
    if (reset_) return 0;
    Arena arena;
    for (int part = 0; part < (backward ? 4 : 2); ++part) take_keys(arena, dtype, e.batch, segments);
    return arena.peak();
  }
  ProductCopies copies(CellExtent e, bool backward) const override {
    if (reset_) return {};
    return LinearLayer::copies(e.batch * m_, shape_.dim, shape_.kv_heads * shape_.head_dim, rank_, backward);
  }

  void compose(CellContext& c) override {
    const PartRows rows = c.part(c.layout.back_rows());
    MoveRows::run(c.queue, c.hidden, rows.here, Write::Overwrite, token(c.params.weight(token_)), first(rows));
  }
  void compose_backward(CellContext& c) override {
    const PartRows rows = c.part(c.layout.back_rows());
    if (const View<> d_token = c.params.grad(token_); d_token)
      MoveRows::sum(c.queue, token(d_token), first(rows), c.d_hidden, rows.here);
  }

  // Every rank of a token axis makes all keys and values of the segment.
  void before_layer(CellContext& c) override {
    if (c.cell.pass != Pass::Encode) return;
    ArenaScope scope(c.scratch);
    const TransferScratch s = TransferScratch::carve(c.scratch, shape_, c.hidden.dtype(), c.batch, m_, false);
    const View<> vectors = c.saved ? carve_saved(c).vectors : s.vectors;
    c.axis.collect(c.queue, vectors, c.layout.back_rows(), c.hidden, c.rows);
    if (!c.state_out) return;
    norm(c, s, vectors);
    LinearLayer::forward(c.queue, s.k, Write::Overwrite, s.normed, transfer(c).k.weights(c.params), c.scratch);
    LinearLayer::forward(c.queue, s.v, Write::Overwrite, s.normed, transfer(c).v.weights(c.params), c.scratch);
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto [k, v] = of_layer(c, c.state_out.at(b));
      Rope::forward(c.queue, by_one(k), of_sequence(s.k, b), c.key_angles.cos, c.key_angles.sin);
      Heads::split(c.queue, by_one(v), of_sequence(s.v, b));
      if (c.told) Elementwise::copy(c.queue, c.told.at(b).at(c.cell.layer), of_sequence(s.normed, b));
    }
  }
  // Parameters and memory rows get theirs on the rank that holds the row; exact sums take all rows as one term, on the
  // rank of the first.
  void before_layer_backward(CellContext& c) override {
    if (c.cell.pass != Pass::Encode) return;
    ArenaScope scope(c.scratch);
    const View<> vectors = carve_saved(c).vectors;
    const TransferScratch s = TransferScratch::carve(c.scratch, shape_, c.d_hidden.dtype(), c.batch, m_, true);
    norm(c, s, vectors);
    const Transfer& head = transfer(c);
    const PartRows rows = c.part(c.layout.back_rows());
    const bool sums = !exact_sums_ || (!rows.number.empty() && rows.number.front() == 0);
    take_gradients(c, s, c.d_state_out.at(0));
    if (sums) {
      LinearLayer::weight_gradients(c.queue, head.k.gradients(c.params), s.k, s.normed, head.k.weights(c.params),
                                    c.scratch);
      LinearLayer::weight_gradients(c.queue, head.v.gradients(c.params), s.v, s.normed, head.v.weights(c.params),
                                    c.scratch);
    }
    if (c.d_state_out.dim(0) > 1) take_gradients(c, s, c.d_state_out.at(1));
    LinearLayer::input_gradient(c.queue, s.d_normed, Write::Overwrite, s.k, head.k.weights(c.params), c.scratch);
    LinearLayer::input_gradient(c.queue, s.d_normed, Write::Accumulate, s.v, head.v.weights(c.params), c.scratch);
    RmsNorm::backward(c.queue, s.d_vectors, Write::Overwrite, sums ? c.params.grad(head.norm) : View<>(), s.d_normed,
                      vectors.reshaped({c.batch * m_, shape_.dim}), c.params.weight(head.norm), s.inv_rms);
    MoveRows::run(c.queue, c.d_hidden, rows.here, Write::Accumulate, s.d_vectors.reshaped({c.batch, m_, shape_.dim}),
                  rows.number);
  }

  std::span<const KeySpan> keys(CellContext& c) override {
    const auto segments = std::ssize(c.earlier.states);
    if (segments == 0) return {};
    const auto take = [&] { return take_keys(c.scratch, c.earlier.states[0].dtype(), c.batch, segments); };
    const View<> k = take(), v = take();
    for (int64_t s = 0; s < segments; ++s)
      for (int64_t b = 0; b < c.batch; ++b) {
        const auto from = of_layer(c, c.earlier.states[static_cast<size_t>(s)].at(b));
        MoveRows::run(c.queue, k.at(b), numbers(s), Write::Overwrite, from.k, numbers(0));
        MoveRows::run(c.queue, v.at(b), numbers(s), Write::Overwrite, from.v, numbers(0));
      }
    keys_ = {.k = k,
             .v = v,
             .dk = {},
             .dv = {},
             .rows = c.earlier.keys};  // their gradients are summed over ranks when all are there; exact ones are whole
    if (!c.earlier.d_states.empty()) {
      keys_.dk = take();
      keys_.dv = take();
      Elementwise::fill(c.queue, keys_.dk, 0);
      Elementwise::fill(c.queue, keys_.dv, 0);
    }
    return {&keys_, 1};
  }
  void keys_backward(CellContext& c) override {
    const auto segments = std::ssize(c.earlier.d_states);
    if (segments == 0) return;
    add_to(c, 0);
    if (c.earlier.d_states[0].dim(0) == 1) return;
    if (c.earlier.weight != 1) {
      Elementwise::scale(c.queue, keys_.dk, c.earlier.weight);
      Elementwise::scale(c.queue, keys_.dv, c.earlier.weight);
    }
    add_to(c, 1);
  }

 private:
  struct Transfer {
    int norm = 0;
    Projection k, v;
  };
  template <class V>
  struct KeysOf {
    V k, v;  // [kv_heads, m, head_dim]
  };

  Projection with_update(Params& params, const std::string& name, const Projection& base, int64_t out) const {
    // The down-projection as PEFT starts it (uniform within 1 / sqrt(in)), by its standard deviation; the update is
    // zero.
    const double std = 1 / std::sqrt(3 * static_cast<double>(shape_.dim));
    Projection updated = base;
    updated.lora_a = params.declare(name + ".lora_A.weight", {rank_, shape_.dim}, {.std = std}, true);
    updated.lora_b = params.declare(name + ".lora_B.weight", {out, rank_}, {}, true);
    updated.scale = scale_;
    return updated;
  }

  int64_t keys() const { return m_ * shape_.kv_heads * shape_.head_dim; }  ///< numbers of a layer's keys
  const Transfer& transfer(const CellContext& c) const { return transfer_[static_cast<size_t>(c.cell.layer)]; }
  View<> token(View<> vector) const { return vector.reshaped({1, shape_.dim}); }
  /// Each memory row is the one token.
  static std::vector<int32_t> first(const PartRows& rows) { return std::vector<int32_t>(rows.here.size(), 0); }
  /// The keys of the s-th segment among those of all, or in a state.
  std::vector<int32_t> numbers(int64_t s) const {
    std::vector<int32_t> numbers = ascending(static_cast<size_t>(m_));
    for (int32_t& number : numbers) number += static_cast<int32_t>(s * m_);
    return numbers;
  }
  View<> take_keys(Arena& arena, DType dtype, int64_t batch, int64_t segments) const {
    return arena.take(dtype, {batch, shape_.kv_heads, segments * m_, shape_.head_dim});
  }
  Saved carve_saved(const CellContext& c) const {
    Arena block(c.saved);
    return Saved::carve(block, (c.hidden ? c.hidden : c.d_hidden).dtype(), c.batch, m_, shape_.dim);
  }

  /// A sequence's state, or its adjoint, [numbers] of the cell's layers: the keys and values of the layer at work.
  template <class V>
  KeysOf<V> of_layer(const CellContext& c, V state) const {
    const int64_t begin = (c.cell.layer - c.state_layer) * 2 * keys();
    const auto part = [&](int64_t first) {
      return state.rows(first, keys()).reshaped({shape_.kv_heads, m_, shape_.head_dim});
    };
    return {part(begin), part(begin + keys())};
  }
  template <class V>
  static V by_one(V of_sequence) {
    return of_sequence.reshaped({1, of_sequence.dim(0), of_sequence.dim(1), of_sequence.dim(2)});
  }
  View<> of_sequence(View<> rows, int64_t b) const { return rows.rows(b * m_, m_); }

  void norm(CellContext& c, const TransferScratch& s, View<> vectors) const {
    RmsNorm::forward(c.queue, s.normed, s.inv_rms, vectors.reshaped({c.batch * m_, shape_.dim}),
                     c.params.weight(transfer(c).norm), shape_.norm_eps);
  }
  /// d_states [batch, numbers]: what the head made gets of them, on this rank's rows; elsewhere zero, but where sums
  /// are exact.
  void take_gradients(CellContext& c, const TransferScratch& s, ConstView<> d_states) const {
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto [dk, dv] = of_layer(c, d_states.at(b));
      Rope::backward(c.queue, of_sequence(s.k, b), by_one(dk), c.key_angles.cos, c.key_angles.sin);
      Heads::merge(c.queue, of_sequence(s.v, b), by_one(dv));
    }
    if (exact_sums_) return;
    std::vector<bool> here(static_cast<size_t>(m_));
    for (const int32_t i : c.part(c.layout.back_rows()).number) here[static_cast<size_t>(i)] = true;
    for (int64_t i = 0; i < m_; ++i)
      for (int64_t b = 0; b < c.batch && !here[static_cast<size_t>(i)]; ++b)
        for (const View<>& gradient : {s.k, s.v}) Elementwise::fill(c.queue, of_sequence(gradient, b).rows(i, 1), 0);
  }
  /// dk and dv to the adjoints of this number, of all segments or of those that are alive.
  void add_to(CellContext& c, int64_t which) const {
    const auto segments = std::ssize(c.earlier.d_states);
    for (int64_t s = 0; s < segments; ++s)
      for (int64_t b = 0; b < c.batch; ++b) {
        if (which > 0 && !c.earlier.alive[static_cast<size_t>(b * segments + s)]) continue;
        const auto to = of_layer(c, c.earlier.d_states[static_cast<size_t>(s)].at(which).at(b));
        MoveRows::run(c.queue, to.k, numbers(0), Write::Accumulate, keys_.dk.at(b), numbers(s));
        MoveRows::run(c.queue, to.v, numbers(0), Write::Accumulate, keys_.dv.at(b), numbers(s));
      }
  }

  bool reset_, exact_sums_;
  ModelShape shape_;
  int64_t m_, rank_;
  double scale_;
  int token_ = 0;
  std::vector<Layer> encoder_;
  std::vector<Transfer> transfer_;
  KeySpan keys_;  ///< of the layer at work
};

}  // namespace

std::unique_ptr<Memory> make_uio(const MemorySettings& settings, const Llama& llama, Params& params) {
  return std::make_unique<Uio>(settings, llama, params);
}

}  // namespace memring
