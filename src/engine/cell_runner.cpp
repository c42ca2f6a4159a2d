// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_runner.h"

#include <algorithm>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/linear/linear.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"

namespace memring {
namespace {

/// What the head's backward needs.
struct HeadScratch {
  View<> d_normed;      // [batch, rows, dim]
  View<> text, d_text;  // [batch * text, dim], where text rows are not all rows

  static HeadScratch carve(Arena& arena, DType dtype, CellExtent extent, int64_t text, int64_t dim) {
    HeadScratch s;
    s.d_normed = arena.take(dtype, {extent.batch, extent.rows, dim});
    if (text == extent.rows) return s;
    s.text = arena.take(dtype, {extent.batch * text, dim});
    s.d_text = arena.take(dtype, {extent.batch * text, dim});
    return s;
  }
};

std::span<const int32_t> sequence_of(std::span<const int32_t> ids, int64_t b, int64_t text) {
  return ids.subspan(static_cast<size_t>(b * text), static_cast<size_t>(text));
}

ConstView<int32_t> view_of(std::span<const int32_t> ids) { return {ids.data(), {static_cast<int64_t>(ids.size())}}; }

}  // namespace

CellRunner::CellRunner(Queue& queue, const Params& params, const Llama& llama, Memory& memory, TokenAxis& axis)
    : queue_(queue), params_(params), llama_(llama), memory_(memory), axis_(axis) {}

int64_t CellRunner::layout_rows(int64_t text) const { return std::ssize(memory_.rows(Pass::Decode, 0, text)); }

CellExtent CellRunner::extent(int64_t batch, int64_t text) const { return {batch, axis_.count(layout_rows(text))}; }

std::array<Range, 2> CellRunner::own_text(int64_t text) const {
  const int64_t begin = memory_.text_begin();
  std::array<Range, 2> own = axis_.within(layout_rows(text), {begin, begin + text});
  for (Range& range : own) range = {range.begin - begin, range.end - begin};
  return own;
}

int64_t CellRunner::own_text_rows(int64_t text) const {
  const auto [low, high] = own_text(text);
  return low.size() + high.size();
}

View<> CellRunner::carve_hidden(Arena& arena, DType dtype, int64_t batch, int64_t text) const {
  return arena.take(dtype, {extent(batch, text).total(), llama_.shape().dim});
}

CellSaved CellRunner::carve_saved(Arena& arena, DType dtype, int64_t batch, int64_t text) const {
  const CellExtent e = extent(batch, text);
  CellSaved saved = CellSaved::carve(arena, llama_.shape(), dtype, e);
  for (int64_t l = 0; l < llama_.shape().layers; ++l)
    saved.memory.push_back(arena.take<uint8_t>({memory_.saved_bytes(dtype, e)}));
  return saved;
}

CellSaved CellRunner::carve_passing(Arena& arena, DType dtype, int64_t batch, int64_t text, View<> hidden) const {
  return CellSaved::carve_passing(arena, llama_.shape(), dtype, extent(batch, text), hidden);
}

int64_t CellRunner::scratch_bytes(DType dtype, int64_t batch, int64_t text, bool backward) const {
  const CellExtent e = extent(batch, text);
  const int64_t dim = llama_.shape().dim, own = own_text_rows(text);
  Arena head;
  if (backward)
    HeadScratch::carve(head, dtype, e, own, dim);
  else if (own != e.rows)
    head.take(dtype, {batch * own, dim});
  return std::max({head.peak() + CrossEntropy::scratch_bytes(dtype, batch * own, llama_.shape().vocab),
                   Layer::scratch_bytes(llama_.shape(), dtype, e, backward),
                   memory_.scratch_bytes(dtype, e, backward)});
}

int64_t CellRunner::ring_bytes(DType dtype, int64_t batch, int64_t text, bool backward) const {
  return axis_.buffer_bytes(llama_.shape(), dtype, batch, layout_rows(text), backward);
}

int64_t CellRunner::angle_bytes(DType dtype, int64_t text) const {
  Arena arena;
  for (int table = 0; table < 2; ++table) arena.take(dtype, {extent(1, text).rows, llama_.shape().head_dim / 2});
  return arena.peak();
}

Range CellRunner::decoder_layers(const Cell& cell) const {
  return {std::max<int64_t>(cell.layer, 0), std::min<int64_t>(cell.layer + cell.layers, llama_.shape().layers)};
}

int64_t CellRunner::numbers_of(Range layers) const {
  int64_t numbers = 0;
  for (int64_t layer = layers.begin; layer < layers.end; ++layer) numbers += memory_.state_numbers(layer);
  return numbers;
}
int64_t CellRunner::state_numbers() const { return numbers_of({0, llama_.shape().layers + 1}); }
int64_t CellRunner::state_numbers(const Cell& cell) const {
  return numbers_of({decoder_layers(cell).begin, cell.layer + cell.layers});
}
int64_t CellRunner::numbers_below(const Cell& cell) const { return numbers_of({0, decoder_layers(cell).begin}); }

CellContext CellRunner::context(const CellText& text, Cell cell, Arena& scratch) {
  return {.queue = queue_,
          .axis = axis_,
          .scratch = scratch,
          .params = params_,
          .cell = cell,
          .batch = text.batch,
          .text = text.text,
          .rows = axis_.numbers(),
          .hidden = {},
          .d_hidden = {},
          .initial = false,
          .state_layer = decoder_layers(cell).begin,
          .state_in = {},
          .state_out = {},
          .d_state_out = {},
          .d_state_in = {},
          .saved = {}};
}

void CellRunner::enter_layer(CellContext& c, const CellSaved& saved, int64_t layer) const {
  c.cell.layer = static_cast<int16_t>(layer);
  c.saved = saved.memory.empty() ? View<uint8_t>() : saved.memory[static_cast<size_t>(layer)];
  note(layer);
}

void CellRunner::note(int64_t layer) const {
  if (!progress_) return;
  progress_->layer = static_cast<int32_t>(layer);
  progress_->advance();
}

RopeAngles CellRunner::angles(DType dtype, std::span<const Row> rows) {
  // A short segment's positions are most often the first of a long one's: computed angles serve both.
  const bool known = cos_ && cos_.dtype() == dtype && rows.size() <= angle_rows_.size() &&
                     std::equal(rows.begin(), rows.end(), angle_rows_.begin(),
                                [](const Row& a, const Row& b) { return a.position == b.position; });
  const auto count = static_cast<int64_t>(rows.size());
  if (!known) {
    const int64_t half = llama_.shape().head_dim / 2;
    angle_rows_.assign(rows.begin(), rows.end());
    angles_.rewind(0);
    cos_ = angles_.take(dtype, {count, half});
    sin_ = angles_.take(dtype, {count, half});
    Rope::table(cos_, sin_, rows, llama_.shape().rope_theta);
  }
  return {cos_.rows(0, count), sin_.rows(0, count)};
}

void CellRunner::forward(const CellText& text, Cell cell, const CellSaved& saved, ConstView<> state_in,
                         View<> state_out, Arena& scratch) {
  const CellExtent e = extent(text.batch, text.text);
  const int64_t dim = llama_.shape().dim, layers = llama_.shape().layers;
  axis_.enter(memory_.rows(cell.pass, cell.segment, text.text));
  const RopeAngles rope = angles(saved.top.dtype(), axis_.rows());

  CellContext c = context(text, cell, scratch);
  c.initial = !state_in;
  c.state_in = state_in;
  c.state_out = state_out;
  if (embeds(cell)) {
    c.hidden = saved.layer(0).input.reshaped({e.batch, e.rows, dim});
    for (int64_t b = 0; b < text.batch; ++b)
      Embedding::forward(queue_, c.hidden.at(b).rows(axis_.first_from(memory_.text_begin()), text.own),
                         params_.weight(llama_.embedding()), view_of(sequence_of(text.tokens, b, text.own)));
    memory_.compose(c);
  }

  const auto [begin, end] = decoder_layers(cell);
  for (int64_t l = begin; l < end; ++l) {
    const View<> output = l + 1 < layers ? saved.layer(l + 1).input : saved.top;
    enter_layer(c, saved, l);
    c.hidden = saved.layer(l).input.reshaped({e.batch, e.rows, dim});
    memory_.before_layer(c);
    llama_.layer(l).forward(queue_, params_, axis_.attention(), saved.layer(l), output, e, axis_.rows(), rope,
                            memory_.keys(c), scratch);
    c.hidden = output.reshaped({e.batch, e.rows, dim});
    memory_.after_layer(c);
  }

  if (!has_head(cell)) return;
  note(layers);
  RmsNorm::forward(queue_, saved.normed, saved.inv_rms, saved.top, params_.weight(llama_.final_norm()),
                   llama_.shape().norm_eps);
  c.cell.layer = static_cast<int16_t>(layers);
  c.hidden = saved.normed.reshaped({e.batch, e.rows, dim});
  memory_.after_norm(c);
}

View<> CellRunner::text_rows(const CellText& text, View<> hidden, Arena& scratch) {
  const CellExtent e = extent(text.batch, text.text);
  const int64_t dim = llama_.shape().dim;
  if (e.rows == text.own) return hidden.reshaped({e.total(), dim});
  const View<> dense = scratch.take(hidden.dtype(), {text.batch, text.own, dim});
  const View<> all = hidden.reshaped({e.batch, e.rows, dim});
  for (int64_t b = 0; b < text.batch; ++b)
    Elementwise::copy(queue_, dense.at(b), all.at(b).rows(axis_.first_from(memory_.text_begin()), text.own));
  return dense.reshaped({text.batch * text.own, dim});
}

void CellRunner::loss(const CellText& text, const CellSaved& saved, View<> nll, Arena& scratch) {
  ArenaScope scope(scratch);
  const View<> hidden = text_rows(text, saved.normed, scratch);
  CrossEntropy::forward(queue_, nll, hidden, params_.weight(llama_.head()), view_of(text.targets), scratch,
                        axis_.first_from(memory_.text_begin()));
}

void CellRunner::logits(const CellText& text, const CellSaved& saved, View<> logits, Arena& scratch) {
  ArenaScope scope(scratch);
  Linear::forward(queue_, logits, Write::Overwrite, text_rows(text, saved.normed, scratch),
                  params_.weight(llama_.head()));
}

void CellRunner::head_backward(const CellText& text, const CellSaved& saved, CellContext& c, View<> d_hidden,
                               View<> nll, Arena& scratch) {
  ArenaScope scope(scratch);
  note(llama_.shape().layers);
  const CellExtent e = extent(text.batch, text.text);
  const int64_t dim = llama_.shape().dim, begin = axis_.first_from(memory_.text_begin());
  const HeadScratch s = HeadScratch::carve(scratch, saved.top.dtype(), e, text.own, dim);
  // Forward and backward together, once per segment.
  const View<> normed = saved.normed.reshaped({e.batch, e.rows, dim});
  const auto head = [&](View<> d_text, ConstView<> rows) {
    CrossEntropy::forward_backward(queue_, nll, d_text, params_.grad(llama_.head()), rows,
                                   params_.weight(llama_.head()), view_of(text.targets), scratch, begin);
  };
  if (s.text) {
    for (int64_t b = 0; b < e.batch; ++b)
      Elementwise::copy(queue_, s.text.rows(b * text.own, text.own), normed.at(b).rows(begin, text.own));
    head(s.d_text, s.text);
    for (int64_t b = 0; b < e.batch; ++b)
      Elementwise::copy(queue_, s.d_normed.at(b).rows(begin, text.own), s.d_text.rows(b * text.own, text.own));
  } else {
    head(s.d_normed.reshaped({e.total(), dim}), saved.normed);
  }
  queue_.poll();

  c.cell.layer = static_cast<int16_t>(llama_.shape().layers);
  c.hidden = normed;
  c.d_hidden = s.d_normed;
  memory_.after_norm_backward(c);
  RmsNorm::backward(queue_, d_hidden, Write::Overwrite, params_.grad(llama_.final_norm()),
                    s.d_normed.reshaped({e.total(), dim}), saved.top, params_.weight(llama_.final_norm()),
                    saved.inv_rms);
}

void CellRunner::backward(const CellText& text, Cell cell, Cell whole, const CellSaved& saved, View<> d_hidden,
                          bool initial, ConstView<> d_state_out, View<> d_state_in, View<> nll, Arena& scratch) {
  const CellExtent e = extent(text.batch, text.text);
  axis_.enter(memory_.rows(cell.pass, cell.segment, text.text));
  const int64_t dim = llama_.shape().dim;
  const RopeAngles rope = angles(saved.top.dtype(), axis_.rows());

  CellContext c = context(text, cell, scratch);
  c.initial = initial;
  c.state_layer = decoder_layers(whole).begin;
  c.d_state_out = d_state_out;
  c.d_state_in = d_state_in;
  if (has_head(cell)) head_backward(text, saved, c, d_hidden, nll, scratch);

  c.d_hidden = d_hidden.reshaped({e.batch, e.rows, dim});
  const auto [begin, end] = decoder_layers(cell);
  for (int64_t l = end - 1; l >= begin; --l) {
    const View<> output = l + 1 < llama_.shape().layers ? saved.layer(l + 1).input : saved.top;
    enter_layer(c, saved, l);
    c.hidden = output.reshaped({e.batch, e.rows, dim});
    memory_.after_layer_backward(c);
    llama_.layer(l).backward(queue_, params_, axis_.attention(), saved.layer(l), d_hidden, e, axis_.rows(), rope,
                             memory_.keys(c), scratch);
    c.hidden = saved.layer(l).input.reshaped({e.batch, e.rows, dim});
    memory_.before_layer_backward(c);
  }

  if (!embeds(cell)) return;
  note(-1);
  c.cell.layer = -1;
  memory_.compose_backward(c);
  const int64_t text_begin = axis_.first_from(memory_.text_begin());
  for (int64_t b = 0; b < e.batch; ++b)
    Embedding::backward(queue_, params_.grad(llama_.embedding()), c.d_hidden.at(b).rows(text_begin, text.own),
                        view_of(sequence_of(text.tokens, b, text.own)));
}

}  // namespace memring
