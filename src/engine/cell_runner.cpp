// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_runner.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "base/readback.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

constexpr std::array<int32_t, 1> kOnlyRow{0};

}  // namespace

CellRunner::CellRunner(Queue& queue, const CellModel& model, TokenAxis& axis, const CellSizes& sizes, CellNumbers& ids)
    : queue_(queue),
      params_(model.params),
      llama_(model.llama),
      memory_(model.memory),
      repeat_token_(model.repeat_token),
      axis_(axis),
      sizes_(sizes),
      ids_(ids) {}

CellContext CellRunner::enter(const CellText& text, Cell cell, Arena& scratch) {
  const Layout rows = memory_.layout(cell.pass, cell.segment, text.text);
  axis_.enter(queue_, rows);
  return {.queue = queue_,
          .axis = axis_,
          .scratch = scratch,
          .params = params_,
          .cell = cell,
          .batch = text.batch,
          .layout = rows,
          .rows = axis_.numbers(),
          .past = axis_.past(),
          .hidden = {},
          .d_hidden = {},
          .k = {},
          .v = {},
          .dk = {},
          .dv = {},
          .initial = false,
          .state_layer = sizes_.decoder_layers(cell).begin,
          .state_in = {},
          .state_out = {},
          .d_state_out = {},
          .d_state_in = {},
          .saved = {},
          .diagnostics = diagnostics_,
          .earlier = {},
          .key_angles = {},
          .told = {}};
}

void CellRunner::allocate_keys(int64_t most) {
  earlier_store_.next_layout(queue_);
  earlier_keys_ = earlier_store_.add(queue_, std::vector<Row>(static_cast<size_t>(most), {.order = Layout::kEarlier}));
}

void CellRunner::add_keys(CellContext& c, DType dtype, const EarlierSegments& earlier) {
  const int64_t before = memory_.keys_before(c.cell.segment);
  c.earlier = earlier;
  c.earlier.keys = earlier_keys_.first(before);
  if (c.cell.pass == Pass::Decode) return;
  // Those who see the keys of this segment have them behind those of the segments before.
  const Shape shape{1, c.layout.back, llama_.shape().head_dim / 2};
  const View<> cos = c.scratch.take(dtype, shape), sin = c.scratch.take(dtype, shape);
  std::vector<int32_t> positions(static_cast<size_t>(c.layout.back));
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(before));
  fill_table(cos, sin, positions);
  c.key_angles = {cos, sin};
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

void CellRunner::allocate_angles(int64_t bytes, RotaryScale scale) {
  angles_ = queue_.arena(bytes);
  inverse_ = angles_.take<double>({std::ssize(scale.inverse)});
  tables_begin_ = angles_.used();
  copy_now(queue_, inverse_, View<double>(scale.inverse.data(), inverse_.shape()));
  angle_factor_ = scale.factor;
}

// Rows in front of the text have the first ids, so it begins behind them; rows behind it go on from its last.
std::vector<int32_t> CellRunner::positions(const CellText& text, const Cell& cell) const {
  const std::span<const Row> rows = axis_.rows().host();
  std::vector<int32_t> positions;
  positions.reserve(rows.size() * static_cast<size_t>(text.positions.empty() ? 1 : text.batch));
  if (text.positions.empty()) {
    const auto begin = static_cast<int32_t>(memory_.first_position(cell.pass, cell.segment));
    for (const Row& row : rows) positions.push_back(begin + row.position);
    return positions;
  }
  const Range own = axis_.layout().text_rows();
  const auto first = static_cast<int32_t>(own.begin);
  for (int64_t b = 0; b < text.batch; ++b) {
    const int32_t* const ids = text.positions.data() + b * text.text;
    for (const int32_t row : axis_.numbers())
      positions.push_back(row < own.begin ? row
                          : row < own.end ? first + ids[row - first]
                                          : first + ids[text.text - 1] + 1 + static_cast<int32_t>(row - own.end));
  }
  return positions;
}

void CellRunner::fill_table(View<> cos, View<> sin, std::span<const int32_t> positions) {
  const std::span<int32_t> numbers = ids_.take(std::ssize(positions));
  std::copy(positions.begin(), positions.end(), numbers.begin());
  Rope::table(queue_, cos, sin, ids_.ready(queue_, numbers), inverse_, angle_factor_);
}

RopeAngles CellRunner::angles(DType dtype, const CellText& text, const Cell& cell) {
  const bool own = !text.positions.empty();
  const int64_t tables = own ? text.batch : 1, rows = axis_.rows().size();
  std::vector<int32_t> wanted = positions(text, cell);
  // A short segment's positions are most often the first of a long one's: computed angles serve both.
  const bool fits =
      cos_ && cos_.dtype() == dtype && cos_.dim(0) == tables && (own ? rows == cos_.dim(1) : rows <= cos_.dim(1));
  if (!fits || !std::equal(wanted.begin(), wanted.end(), angle_positions_.begin())) {
    angle_positions_ = std::move(wanted);
    const int64_t half = llama_.shape().head_dim / 2;
    angles_.rewind(tables_begin_);
    cos_ = angles_.take(dtype, {tables, rows, half});
    sin_ = angles_.take(dtype, {tables, rows, half});
    fill_table(cos_, sin_, angle_positions_);
  }
  const auto first_rows = [&](View<> table) {
    const int64_t half = table.dim(2);
    return own ? table : table.at(0).rows(0, rows).reshaped({1, rows, half});
  };
  return {first_rows(cos_), first_rows(sin_)};
}

LayerRows CellRunner::layer_rows(DType dtype, const CellText& text, const Cell& cell) {
  const RopeAngles rope = angles(dtype, text, cell);
  return {axis_.rows(), rope, axis_.rows(), {}};
}

LayerRows CellRunner::last_layer_rows(const CellSaved& saved, const LayerRows& all, Arena& scratch) {
  if (saved.wanted.empty()) return all;
  const auto count = std::ssize(saved.wanted);
  const int64_t half = llama_.shape().head_dim / 2;
  queries_.clear();
  for (const int32_t row : saved.wanted) queries_.push_back(all.keys.host()[static_cast<size_t>(row)]);
  const auto taken = [&](ConstView<> table) {
    const View<> some = scratch.take(table.dtype(), {table.dim(0), count, half});
    MoveRows::run(queue_, some, ascending(saved.wanted.size()), Write::Overwrite, table, saved.wanted);
    return some;
  };
  const View<> cos = taken(all.angles.cos), sin = taken(all.angles.sin);
  return {all.keys, all.angles, ids_.ready(queue_, queries_), {saved.wanted, {cos, sin}}};
}

std::vector<int32_t> CellRunner::wanted_rows(const CellText& text, const Layout& layout) const {
  // Canonical blocks of rows stay whole, and so do the parts of a layout that ranks share.
  if (text.every_row || queue_.block() > 0 || axis_.shared()) return {};
  std::vector<int32_t> wanted;
  for (int64_t i = 0; i < layout.text && 2 * std::ssize(wanted) <= layout.rows(); ++i)
    for (int64_t b = 0; b < text.batch; ++b)
      if (text.targets.host[static_cast<size_t>(b * text.own + i)] != kIgnoredTarget) {
        wanted.push_back(static_cast<int32_t>(layout.front + i));
        break;
      }
  for (int64_t row = layout.back_rows().begin; row < layout.rows(); ++row) wanted.push_back(static_cast<int32_t>(row));
  if (wanted.empty()) wanted.push_back(0);  // nobody looks at it
  if (2 * std::ssize(wanted) > layout.rows()) wanted.clear();
  return wanted;
}

void CellRunner::embed(const CellText& text, View<> hidden) {
  const int64_t first = axis_.first_text();
  for (int64_t b = 0; b < text.batch; ++b)
    Embedding::forward(queue_, hidden.at(b).rows(first, text.own), params_.weight(llama_.embedding()),
                       text.tokens.part(b * text.own, text.own));
  if (!text.repeats) return;
  const std::array row{static_cast<int32_t>(first)};
  MoveRows::run(queue_, hidden, row, Write::Overwrite, params_.weight(repeat_token_).reshaped({1, llama_.shape().dim}),
                kOnlyRow);
}

void CellRunner::embed_backward(const CellText& text, View<> d_hidden) {
  const int64_t first = axis_.first_text();
  if (text.repeats) {
    const std::array row{static_cast<int32_t>(first)};
    if (const View<> d_repeat = params_.grad(repeat_token_); d_repeat)
      MoveRows::sum(queue_, d_repeat.reshaped({1, llama_.shape().dim}), kOnlyRow, d_hidden, row);
    for (int64_t b = 0; b < text.batch; ++b) Elementwise::fill(queue_, d_hidden.at(b).rows(first, 1), 0);
  }
  for (int64_t b = 0; b < text.batch; ++b)
    Embedding::backward(queue_, params_.grad(llama_.embedding()), d_hidden.at(b).rows(first, text.own),
                        text.tokens.part(b * text.own, text.own));
}

void CellRunner::forward(const CellText& text, Cell cell, CellSaved& saved, const CellStates& states, Arena& scratch) {
  const CellExtent e = sizes_.extent(text.batch, text.text, cell.pass);
  const int64_t dim = llama_.shape().dim, layers = llama_.shape().layers;
  CellContext c = enter(text, cell, scratch);
  if (sizes_.has_head(cell)) saved.wanted = wanted_rows(text, c.layout);
  const LayerRows all = layer_rows(saved.top.dtype(), text, cell), last = last_layer_rows(saved, all, scratch);
  const int64_t top = saved.wanted.empty() ? e.total() : e.batch * std::ssize(saved.wanted);
  c.initial = !states.in;
  c.state_in = states.in;
  c.state_out = states.out;
  c.told = states.told;
  add_keys(c, saved.top.dtype(), states.earlier);
  if (CellSizes::embeds(cell)) {
    c.hidden = saved.layer(0).input.reshaped({e.batch, e.rows, dim});
    embed(text, c.hidden);
    memory_.compose(c);
  }

  const auto [begin, end] = sizes_.decoder_layers(cell);
  for (int64_t l = begin; l < end; ++l) {
    const bool is_last = l + 1 == layers;
    const View<> output = is_last ? saved.top.rows(0, top) : saved.layer(l + 1).input;
    const ArenaScope scope(scratch);
    enter_layer(c, saved, l);
    c.hidden = saved.layer(l).input.reshaped({e.batch, e.rows, dim});
    memory_.before_layer(c);
    const Layer* const layer = memory_.layer(llama_, cell.pass, l);
    if (!layer) continue;
    layer->forward(queue_, params_, axis_.attention(), layer_saved(saved, l), output, e, is_last ? last : all,
                   memory_.keys(c), scratch);
    c.k = saved.layer(l).k;
    c.v = saved.layer(l).v;
    memory_.keep_keys(c);
    if (is_last && !saved.wanted.empty()) c.rows = saved.wanted;
    c.hidden = output.reshaped({e.batch, std::ssize(c.rows), dim});
    memory_.after_layer(c);
  }

  if (!sizes_.has_head(cell)) return;
  note(layers);
  RmsNorm::forward(queue_, saved.normed.rows(0, top), saved.inv_rms.rows(0, top), saved.top.rows(0, top),
                   params_.weight(llama_.final_norm()), llama_.shape().norm_eps);
  c.cell.layer = static_cast<int16_t>(layers);
  c.hidden = saved.normed.rows(0, top).reshaped({e.batch, std::ssize(c.rows), dim});
  memory_.after_norm(c);
}

LayerSaved CellRunner::layer_saved(const CellSaved& saved, int64_t layer) const {
  const bool fewer = layer + 1 == llama_.shape().layers && !saved.wanted.empty();
  return fewer ? saved.layer(layer).with_queries(std::ssize(saved.wanted)) : saved.layer(layer);
}

void CellRunner::backward(const CellText& text, Cell cell, Cell whole, const CellSaved& saved, View<> d_hidden,
                          bool initial, ConstView<> d_state_out, View<> d_state_in, const EarlierSegments& earlier,
                          View<> nll, Arena& scratch) {
  const CellExtent e = sizes_.extent(text.batch, text.text, cell.pass);
  const int64_t dim = llama_.shape().dim, layers = llama_.shape().layers;
  CellContext c = enter(text, cell, scratch);
  const std::span<const int32_t> numbers = c.rows;
  const LayerRows all = layer_rows(saved.top.dtype(), text, cell), last = last_layer_rows(saved, all, scratch);
  // Fewer rows behind the last layer leave the other half of `top` free for their gradient.
  const int64_t fewer = sizes_.has_head(cell) ? e.batch * std::ssize(saved.wanted) : 0;
  const View<> d_top = fewer > 0 ? saved.top.rows(fewer, fewer) : d_hidden;
  if (fewer > 0) c.rows = saved.wanted;
  c.initial = initial;
  c.state_layer = sizes_.decoder_layers(whole).begin;
  c.d_state_out = d_state_out;
  c.d_state_in = d_state_in;
  add_keys(c, saved.top.dtype(), earlier);
  if (sizes_.has_head(cell)) head_backward(text, saved, c, d_top, nll, scratch);

  const auto [begin, end] = sizes_.decoder_layers(cell);
  for (int64_t l = end - 1; l >= begin; --l) {
    const bool is_last = l + 1 == layers;
    const View<> d_output = is_last ? d_top : d_hidden;
    const View<> output = is_last ? saved.top.rows(0, d_output.dim(0)) : saved.layer(l + 1).input;
    const ArenaScope scope(scratch);
    enter_layer(c, saved, l);
    c.hidden = output.reshaped({e.batch, std::ssize(c.rows), dim});
    c.d_hidden = d_output.reshaped({e.batch, std::ssize(c.rows), dim});
    memory_.after_layer_backward(c);
    c.rows = numbers;
    const auto keep_keys_backward = [&](View<> dk, View<> dv) {
      c.dk = dk;
      c.dv = dv;
      memory_.keep_keys_backward(c);
    };
    if (const Layer* const layer = memory_.layer(llama_, cell.pass, l)) {
      layer->backward(queue_, params_, axis_.attention(), layer_saved(saved, l), d_output, d_hidden, e,
                      is_last ? last : all, memory_.keys(c), keep_keys_backward, scratch);
      memory_.keys_backward(c);
    } else {
      Elementwise::fill(queue_, d_hidden, 0);  // nothing but its hooks
    }
    c.hidden = saved.layer(l).input.reshaped({e.batch, e.rows, dim});
    c.d_hidden = d_hidden.reshaped({e.batch, e.rows, dim});
    memory_.before_layer_backward(c);
  }

  if (!CellSizes::embeds(cell)) return;
  note(-1);
  c.cell.layer = -1;
  memory_.compose_backward(c);
  embed_backward(text, c.d_hidden);
}

}  // namespace memring
