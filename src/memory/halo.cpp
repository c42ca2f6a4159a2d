// Halo: the cache of Transformer-XL (Dai et al. 2019) and the sliding window with attention sinks (Xiao et al. 2023),
// as one state per layer: rotated keys and values of the last text tokens, which the next segment's same layer sees in
// front of its own. Positions go on over segments, so that keys stay valid; gradients go back through them. A window
// that covers the sequence is full attention.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/elementwise/elementwise.h"
#include "kernels/rows/rows.h"
#include "memory/mechanisms.h"

namespace memring {
namespace {

// A state holds keys, then values, [kv_heads, sinks + past, head_dim] each: the sequence's first tokens, then those
// right before the next segment, the last one last. Where the sequence has only begun, rows in between are zeros, which
// no one sees (Layout::first).
class Halo final : public Memory {
 public:
  Halo(const MemorySettings& settings, const ModelShape& shape)
      : shape_(shape),
        reset_(settings.reset_each_segment),
        window_(settings.window),
        segment_length_(settings.segment_length),
        sinks_(settings.sinks),
        past_(std::min(window_ > 0 ? window_ - 1 : segment_length_, most_past(settings))) {}

  Dependency dependency() const override { return kept() > 0 ? Dependency::Halo : Dependency::None; }
  int64_t state_numbers(int64_t layer) const override { return layer < shape_.layers ? 2 * tensor_numbers() : 0; }
  int64_t first_position(Pass, int32_t segment) const override { return reset_ ? 0 : segment * segment_length_; }
  Layout layout(Pass pass, int32_t segment, int64_t text) const override {
    const int64_t before = first_position(pass, segment);
    if (before == 0) return {.text = text, .window = window_, .sinks = std::min(sinks_, text)};
    return {.text = text,
            .window = window_,
            .past_sinks = sinks_,
            .past = past_,
            .first = -std::min(before - sinks_, past_)};
  }

  // Backward finds the keys that forward has seen, beside room for their gradient.
  int64_t saved_bytes(DType dtype, CellExtent e) const override { return pair_bytes(dtype, e.batch, kept()); }
  int64_t keys_bytes(DType dtype, CellExtent e, int64_t, bool) const override {
    return pair_bytes(dtype, e.batch, kept());
  }
  int64_t scratch_bytes(DType dtype, CellExtent e, bool /*backward*/) const override {
    const int64_t most = std::max(sinks_, std::min(past_, segment_length_));  // that a segment gives to the state
    return kept() == 0 ? 0 : pair_bytes(dtype, e.batch, most);
  }

  std::span<const KeySpan> keys(CellContext& c) override {
    if (c.initial || kept() == 0) return {};
    const DType dtype = c.params.dtype();
    Arena block(c.saved);
    const Pair seen = carve(c.saved ? block : c.scratch, dtype, c.batch, kept());
    for (int64_t b = 0; c.state_in && b < c.batch; ++b) {
      Elementwise::copy(c.queue, seen.k.at(b), of_layer(c, c.state_in, b).k);
      Elementwise::copy(c.queue, seen.v.at(b), of_layer(c, c.state_in, b).v);
    }
    span_ = {.k = seen.k, .v = seen.v, .dk = {}, .dv = {}, .rows = c.past, .replicated = true};
    if (c.d_state_in) {
      const Pair gradient = carve(c.scratch, dtype, c.batch, kept());
      Elementwise::fill(c.queue, gradient.k, 0);
      Elementwise::fill(c.queue, gradient.v, 0);
      span_.dk = gradient.k;
      span_.dv = gradient.v;
    }
    return {&span_, 1};
  }
  void keys_backward(CellContext& c) override {
    for (int64_t b = 0; c.d_state_in && b < c.batch; ++b) {
      const auto d_before = of_layer(c, c.d_state_in, b);
      Elementwise::add(c.queue, d_before.k, d_before.k, span_.dk.at(b));
      Elementwise::add(c.queue, d_before.v, d_before.v, span_.dv.at(b));
    }
  }

  void keep_keys(CellContext& c) override {
    if (!c.state_out) return;
    const Moves moves = this->moves(c);
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto before = of_layer(c, c.state_in, b);
      const auto after = of_layer(c, c.state_out, b);
      for (const auto& [to, from] : {std::pair{after.k, before.k}, {after.v, before.v}}) {
        if (moves.first_segment) Elementwise::fill(c.queue, to, 0);
        for (const Move& m : moves.carried) move(c.queue, to, m.to, from, m.from);
      }
    }
    for (const Move& m : moves.own) {
      const ArenaScope scope(c.scratch);
      const Pair rows = carve(c.scratch, c.params.dtype(), c.batch, m.from.size());
      collect(c, rows.k, m.from, c.k);
      collect(c, rows.v, m.from, c.v);
      for (int64_t b = 0; b < c.batch; ++b) {
        const auto after = of_layer(c, c.state_out, b);
        move(c.queue, after.k, m.to, rows.k.at(b), {0, m.from.size()});
        move(c.queue, after.v, m.to, rows.v.at(b), {0, m.from.size()});
      }
    }
  }
  // Every rank of a token axis has the whole adjoint, and takes what belongs to its rows.
  void keep_keys_backward(CellContext& c) override {
    if (!c.d_state_in && !c.d_state_out) return;
    const Moves moves = this->moves(c);
    for (int64_t b = 0; b < c.batch; ++b) {
      const auto d_after = of_layer(c, c.d_state_out, b);
      if (c.d_state_in) {
        const auto d_before = of_layer(c, c.d_state_in, b);
        for (const auto& [to, from] : {std::pair{d_before.k, d_after.k}, {d_before.v, d_after.v}}) {
          Elementwise::fill(c.queue, to, 0);
          for (const Move& m : moves.carried)
            if (from) move(c.queue, to, m.from, from, m.to);
        }
      }
      for (const Move& m : moves.own) {
        if (!d_after.k) break;
        PartRows part = c.part(m.from);
        for (int32_t& number : part.number) number += static_cast<int32_t>(m.to.begin);
        MoveRows::run(c.queue, c.dk.at(b), part.here, Write::Accumulate, d_after.k, part.number);
        MoveRows::run(c.queue, c.dv.at(b), part.here, Write::Accumulate, d_after.v, part.number);
      }
    }
  }

 private:
  /// Keys and values: of all sequences [batch, kv_heads, n, head_dim], or of one.
  template <class V>
  struct KeysAndValues {
    V k, v;
  };
  using Pair = KeysAndValues<View<>>;

  /// Rows of the next state, and where they come from.
  struct Move {
    Range to, from;
  };
  /// From the state before, and from the segment's own rows.
  struct Moves {
    bool first_segment = false;
    std::vector<Move> carried, own;
  };

  /// Tokens, sinks apart, that stand before the last segment of the longest sequence.
  static int64_t most_past(const MemorySettings& s) {
    if (s.longest == 0) return std::numeric_limits<int64_t>::max();
    return std::max<int64_t>(0, (s.longest - 1) / s.segment_length * s.segment_length - s.sinks);
  }
  int64_t kept() const { return reset_ ? 0 : sinks_ + past_; }
  int64_t tensor_numbers() const { return shape_.kv_heads * kept() * shape_.head_dim; }
  Pair carve(Arena& arena, DType dtype, int64_t batch, int64_t rows) const {
    const Shape shape{batch, shape_.kv_heads, rows, shape_.head_dim};
    const View<> k = arena.take(dtype, shape);
    return {k, arena.take(dtype, shape)};
  }
  int64_t pair_bytes(DType dtype, int64_t batch, int64_t rows) const {
    Arena arena;
    carve(arena, dtype, batch, rows);
    return arena.peak();
  }
  /// A sequence's part of the states [batch, numbers] for the cell's layer, [kv_heads, kept, head_dim] each.
  template <class V>
  KeysAndValues<V> of_layer(const CellContext& c, V states, int64_t b) const {
    if (!states) return {};
    const int64_t numbers = tensor_numbers(), begin = (c.cell.layer - c.state_layer) * 2 * numbers;
    const Shape shape{shape_.kv_heads, kept(), shape_.head_dim};
    return {states.at(b).rows(begin, numbers).reshaped(shape),
            states.at(b).rows(begin + numbers, numbers).reshaped(shape)};
  }
  Moves moves(const CellContext& c) const {
    const int64_t text = c.layout.text, sinks = c.layout.sinks, own = std::min(text - sinks, past_);
    Moves moves{.first_segment = c.initial, .carried = {}, .own = {{{kept() - own, kept()}, {text - own, text}}}};
    if (c.initial)
      moves.own.push_back({{0, sinks}, {0, sinks}});
    else
      moves.carried = {{{0, sinks_}, {0, sinks_}}, {{sinks_, kept() - own}, {sinks_ + own, kept()}}};
    return moves;
  }
  static void move(Queue& queue, View<> to, Range to_rows, ConstView<> from, Range from_rows) {
    MoveRows::run(queue, to, numbers(to_rows), Write::Overwrite, from, numbers(from_rows));
  }
  static std::vector<int32_t> numbers(Range rows) {
    std::vector<int32_t> numbers = ascending(static_cast<size_t>(rows.size()));
    for (int32_t& number : numbers) number += static_cast<int32_t>(rows.begin);
    return numbers;
  }
  /// Rows of the segment, wherever they are, of `mine` [batch, kv_heads, rows here, head_dim].
  void collect(CellContext& c, View<> all, Range rows, ConstView<> mine) const {
    if (rows.size() == 0) return;
    const int64_t matrices = c.batch * shape_.kv_heads;
    c.axis.collect(c.queue, all.reshaped({matrices, rows.size(), shape_.head_dim}), rows,
                   mine.reshaped({matrices, mine.dim(2), shape_.head_dim}), c.rows);
  }

  ModelShape shape_;
  bool reset_;
  int64_t window_, segment_length_, sinks_, past_;
  KeySpan span_;  // of the layer that is worked on
};

}  // namespace

std::unique_ptr<Memory> make_halo(const MemorySettings& settings, const ModelShape& shape) {
  return std::make_unique<Halo>(settings, shape);
}

}  // namespace memring
