// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_sizes.h"

#include <algorithm>

#include "engine/cell_numbers.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/linear/linear.h"

namespace memring {

HeadScratch HeadScratch::carve(Arena& arena, DType dtype, CellExtent extent, int64_t text, int64_t dim) {
  HeadScratch s;
  s.d_normed = arena.take(dtype, {extent.batch, extent.rows, dim});
  if (text == extent.rows) return s;
  s.text = arena.take(dtype, {extent.batch * text, dim});
  s.d_text = arena.take(dtype, {extent.batch * text, dim});
  return s;
}

std::array<Range, 2> CellSizes::own_text(int64_t text) const {
  const Layout rows = layout(text);
  std::array<Range, 2> own = split_.within(rows.rows(), rows.text_rows());
  for (Range& range : own) range = {range.begin - rows.front, range.end - rows.front};
  return own;
}

int64_t CellSizes::own_text_rows(int64_t text) const {
  const auto [low, high] = own_text(text);
  return low.size() + high.size();
}

Range CellSizes::decoder_layers(const Cell& cell) const {
  return {std::max<int64_t>(cell.layer, 0), std::min<int64_t>(cell.layer + cell.layers, shape_.layers)};
}

View<> CellSizes::carve_hidden(Arena& arena, int64_t batch, int64_t text) const {
  return arena.take(dtype_, {extent(batch, text).total(), shape_.dim});
}

CellSaved CellSizes::carve_saved(Arena& arena, int64_t batch, int64_t text) const {
  const CellExtent e = extent(batch, text);
  CellSaved saved = CellSaved::carve(arena, shape_, dtype_, e);
  for (int64_t l = 0; l < shape_.layers; ++l)
    saved.memory.push_back(arena.take<uint8_t>({memory_.saved_bytes(dtype_, e)}));
  return saved;
}

CellSaved CellSizes::carve_passing(Arena& arena, int64_t batch, int64_t text, View<> hidden) const {
  return CellSaved::carve_passing(arena, shape_, dtype_, extent(batch, text), hidden);
}

int64_t CellSizes::slot(SlotKind kind, const Extent& extent, int64_t batch, int64_t text) const {
  Arena arena;
  if (kind == SlotKind::Saved) {
    carve_saved(arena, batch, text);
  } else if (kind == SlotKind::Hidden) {
    carve_hidden(arena, batch, text);
  } else {
    int64_t numbers = 0;
    for (int32_t at = 0; at < extent.depth; ++at) numbers = std::max(numbers, state_numbers(extent.cell(0, 0, at)));
    arena.take(dtype_, {batch, numbers});
  }
  return arena.peak();
}

int64_t CellSizes::scratch(int64_t batch, int64_t text, bool backward) const {
  const CellExtent e = extent(batch, text);
  const int64_t dim = shape_.dim, own = own_text_rows(text);
  Arena head;
  if (backward)
    HeadScratch::carve(head, dtype_, e, own, dim);
  else if (own != e.rows)
    head.take(dtype_, {batch * own, dim});
  head.take(dtype_, {batch * own});  // losses, where not all rows have one
  Arena angles;
  for (int table = 0; table < 2; ++table) angles.take(dtype_, {angle_tables(batch), e.rows / 2, shape_.head_dim / 2});
  return angles.peak() +
         std::max({head.peak() + CrossEntropy::scratch_bytes(dtype_, batch * own, shape_.vocab),
                   memory_.keys_bytes(dtype_, e) + std::max(Layer::scratch_bytes(shape_, dtype_, e, backward),
                                                            memory_.scratch_bytes(dtype_, e, backward))});
}

ProductCopies CellSizes::copies(int64_t batch, int64_t text, bool backward, bool logits) const {
  const CellExtent e = extent(batch, text);
  const int64_t own = batch * own_text_rows(text);
  const ProductCopies cell = Layer::copies(shape_, e, backward) | memory_.copies(e, backward) |
                             CrossEntropy::copies(own, shape_.dim, shape_.vocab, backward);
  return logits ? cell | Linear::copies(own, shape_.dim, shape_.vocab, false) : cell;
}

int64_t CellSizes::ring(int64_t batch, int64_t text, bool backward) const {
  return split_.buffer_bytes(shape_, dtype_, batch, layout(text).rows(), backward);
}

int64_t CellSizes::angles(int64_t batch, int64_t text) const {
  Arena arena;
  arena.take<double>({shape_.head_dim / 2});  // the frequencies
  for (int table = 0; table < 2; ++table)
    arena.take(dtype_, {angle_tables(batch), extent(1, text).rows, shape_.head_dim / 2});
  return arena.peak();
}

SpaceBytes CellSizes::tables(int64_t batch, int64_t text, bool device) const {
  const int64_t rows = layout(text).rows(), here = extent(1, text).rows;
  // The axis', and CellRunner's: up to half of the rows as queries, and twice the position ids that angles are for;
  // those of the text where sequences have their own.
  // Only the first segment has no past.
  const int64_t past = memory_.layout(Pass::Decode, 1, text).past_keys() * int64_t{sizeof(Row)};
  const int64_t of_rows =
      split_.table_bytes(rows) + past + here * int64_t{sizeof(Row)} / 2 +
      (2 * angle_tables(batch) * here + (own_positions_ ? batch * text : 0)) * int64_t{sizeof(int32_t)};
  const int64_t given = CellNumbers::bytes(numbers(batch, text), device);
  return {of_rows + given, device ? split_.table_bytes(rows) + past + given : 0};
}

int64_t CellSizes::numbers(int64_t batch, int64_t text) const {
  constexpr int64_t kLists = 3, kOfRow = 4;
  // Tokens, targets, those of the head; half of the rows ask at the most; position ids of the angles.
  const int64_t rows = extent(1, text).rows;
  return kLists * batch * own_text_rows(text) + (rows + 1) / 2 * kOfRow + angle_tables(batch) * rows;
}

int64_t CellSizes::numbers_of(Range layers) const {
  int64_t numbers = 0;
  for (int64_t layer = layers.begin; layer < layers.end; ++layer) numbers += memory_.state_numbers(layer);
  return numbers;
}
int64_t CellSizes::state_numbers() const { return numbers_of({0, shape_.layers + 1}); }
int64_t CellSizes::state_numbers(const Cell& cell) const {
  return numbers_of({decoder_layers(cell).begin, cell.layer + cell.layers});
}
int64_t CellSizes::numbers_below(const Cell& cell) const { return numbers_of({0, decoder_layers(cell).begin}); }

}  // namespace memring
