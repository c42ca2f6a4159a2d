// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_sizes.h"

#include <algorithm>

#include "dist/mesh_arithmetic.h"
#include "engine/cell_numbers.h"
#include "kernels/attention/attention.h"
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

template <class F>
int64_t CellSizes::most(const F& f) const {
  int64_t most = 0;
  for (const Pass pass : passes_of(memory_.dependency())) most = std::max<int64_t>(most, f(pass));
  return most;
}

std::array<Range, 2> CellSizes::own_text(int64_t text, Pass pass) const {
  const Layout rows = layout(text, pass);
  std::array<Range, 2> own = split_.within(rows.rows(), rows.text_rows());
  for (Range& range : own) range = {range.begin - rows.front, range.end - rows.front};
  return own;
}

int64_t CellSizes::own_text_rows(int64_t text, Pass pass) const {
  const auto [low, high] = own_text(text, pass);
  return low.size() + high.size();
}

Range CellSizes::decoder_layers(const Cell& cell) const {
  return {std::max<int64_t>(cell.layer, 0), std::min<int64_t>(cell.layer + cell.layers, shape_.layers)};
}

View<> CellSizes::carve_hidden(Arena& arena, int64_t batch, int64_t text, Pass pass) const {
  return arena.take(dtype_, {extent(batch, text, pass).total(), shape_.dim});
}

CellSaved CellSizes::carve_saved(Arena& arena, int64_t batch, int64_t text, Pass pass) const {
  const CellExtent e = extent(batch, text, pass);
  CellSaved saved = CellSaved::carve(arena, shape_, dtype_, e);
  for (int64_t l = 0; l < shape_.layers; ++l)
    saved.memory.push_back(arena.take<uint8_t>({memory_.saved_bytes(dtype_, e)}));
  return saved;
}

CellSaved CellSizes::carve_passing(Arena& arena, int64_t batch, int64_t text, Pass pass, View<> hidden) const {
  return CellSaved::carve_passing(arena, shape_, dtype_, extent(batch, text, pass), hidden);
}

int64_t CellSizes::passing(int64_t batch, int64_t text) const {
  return most([&](Pass pass) {
    Arena arena;
    carve_passing(arena, batch, text, pass, {});
    return arena.peak();
  });
}

int64_t CellSizes::slot(SlotKind kind, const Extent& extent, int64_t batch, int64_t text) const {
  if (kind == SlotKind::Saved || kind == SlotKind::Hidden)
    return most([&](Pass pass) {
      Arena arena;
      if (kind == SlotKind::Saved)
        carve_saved(arena, batch, text, pass);
      else
        carve_hidden(arena, batch, text, pass);
      return arena.peak();
    });
  Arena arena;
  const bool appended = kind == SlotKind::Adjoint && memory_.dependency() == Dependency::Append;
  arena.take(appended ? appended_type() : dtype_,
             {kind == SlotKind::Adjoint ? uses_.adjoints : 1, batch, most_state_numbers(extent)});
  return arena.peak();
}

int64_t CellSizes::message(const Extent& extent, int64_t batch) const {
  Arena arena;
  arena.take(dtype_, {part_of(uses_.adjoints * batch * most_state_numbers(extent), split_.ranks, 0).size()});
  return arena.peak();
}

// A message for each buffer of the ring, or one of what memories collect, sum and gather: no more of its rows, and no
// more than its states.
int64_t CellSizes::collected(const Extent& extent, int64_t batch, int64_t text, bool backward) const {
  if (split_.ranks == 1) return 0;
  const int64_t rows = most([&](Pass pass) { return layout(text, pass).back; });
  Arena arena;
  arena.take(dtype_, {batch * std::max(rows * shape_.dim, uses_.adjoints * most_state_numbers(extent))});
  return ring(batch, text, backward) + arena.peak();
}

int64_t CellSizes::results(const Extent& extent, int64_t batch, const SequenceShape& shape, bool logits,
                           bool final_state) const {
  const int64_t of_rows = batch * own_text_rows(shape.text_of(0), Pass::Decode) * (logits ? shape_.vocab : 1);
  const int64_t told = batch * shape_.layers * memory_.keys_before(1) * shape_.dim;
  Arena arena;
  arena.take(dtype_, {std::max(of_rows, final_state ? std::max(told, most_state_numbers(extent)) : 0)});
  return arena.peak();
}

int64_t CellSizes::scratch(int64_t batch, const SequenceShape& shape, bool backward) const {
  return most([&](Pass pass) { return scratch(batch, shape, backward, pass); });
}

int64_t CellSizes::scratch(int64_t batch, const SequenceShape& shape, bool backward, Pass pass) const {
  const int64_t text = shape.text_of(0), dim = shape_.dim, own = own_text_rows(text, pass);
  const CellExtent e = extent(batch, text, pass);
  Arena head;
  if (backward)
    HeadScratch::carve(head, dtype_, e, own, dim);
  else if (own != e.rows)
    head.take(dtype_, {batch * own, dim});
  if (!backward && uses_.taught) head.take(dtype_, {batch * own, dim});  // a gradient that nobody wants
  head.take(dtype_, {batch * own});                                      // losses, where not all rows have one
  if (uses_.taught) head.take(dtype_, {batch * own, dim});               // and what teaches those that have
  Arena angles;
  for (int table = 0; table < 2; ++table) angles.take(dtype_, {angle_tables(batch), e.rows / 2, shape_.head_dim / 2});
  if (pass == Pass::Encode && backward && appended_type() != dtype_)  // what has been summed, rounded
    angles.take(dtype_, {uses_.adjoints, batch, state_numbers()});
  if (const int64_t keys = layout(text, pass).back; pass == Pass::Encode)
    for (int table = 0; table < 2; ++table) angles.take(dtype_, {1, keys, shape_.head_dim / 2});
  const int64_t keys = pass == Pass::Decode ? memory_.keys_bytes(dtype_, e, shape.segments() - 1, backward) : 0;
  const int64_t logits = uses_.taught ? CrossEntropy::distil_scratch_bytes(dtype_, batch * own, shape_.vocab)
                                      : CrossEntropy::scratch_bytes(dtype_, batch * own, shape_.vocab);
  return angles.peak() +
         std::max({head.peak() + logits, keys + std::max(Layer::scratch_bytes(shape_, lora_rank(), dtype_, e, backward),
                                                         memory_.scratch_bytes(dtype_, e, backward))});
}

ProductCopies CellSizes::copies(int64_t batch, int64_t text, bool backward, bool logits) const {
  ProductCopies all;
  for (const Pass pass : passes_of(memory_.dependency())) {
    const CellExtent e = extent(batch, text, pass);
    all = all | Layer::copies(shape_, lora_rank(), e, backward) | memory_.copies(e, backward);
  }
  const int64_t own = batch * own_text_rows(text, Pass::Decode);
  all = all | CrossEntropy::copies(own, shape_.dim, shape_.vocab, backward || uses_.taught);
  return logits ? all | Linear::copies(own, shape_.dim, shape_.vocab, false) : all;
}

int64_t CellSizes::ring(int64_t batch, int64_t text, bool backward) const {
  return most(
      [&](Pass pass) { return split_.buffer_bytes(shape_, dtype_, batch, layout(text, pass).rows(), backward); });
}

int64_t CellSizes::workspace(int64_t batch, int64_t text) const {
  return most([&](Pass pass) {
    return LocalAttention::workspace_bytes(dtype_, batch * shape_.heads * extent(batch, text, pass).rows);
  });
}

int64_t CellSizes::angles(int64_t batch, int64_t text) const {
  return most([&](Pass pass) {
    Arena arena;
    arena.take<double>({shape_.head_dim / 2});  // the frequencies
    for (int table = 0; table < 2; ++table)
      arena.take(dtype_, {angle_tables(batch), extent(1, text, pass).rows, shape_.head_dim / 2});
    return arena.peak();
  });
}

SpaceBytes CellSizes::tables(int64_t batch, const SequenceShape& shape, bool device) const {
  const int64_t text = shape.text_of(0);
  // The axis', and CellRunner's: up to half of the rows as queries, and twice the position ids that angles are for;
  // those of the text where sequences have their own.
  const int64_t of_axis = most([&](Pass pass) { return split_.table_bytes(layout(text, pass).rows()); });
  const int64_t of_rows = most([&](Pass pass) {
    const int64_t here = extent(1, text, pass).rows;
    return here * int64_t{sizeof(Row)} / 2 +
           (2 * angle_tables(batch) * here + (uses_.own_positions ? batch * text : 0)) * int64_t{sizeof(int32_t)};
  });
  const int64_t given = CellNumbers::bytes(numbers(batch, shape), device);
  return {of_axis + past_keys(text) * int64_t{sizeof(Row)} + of_rows + given, device ? given : 0};
}

// As rows, and as the numbers that were uploaded.
SpaceBytes CellSizes::kept_tables(int64_t text) const {
  int64_t uploaded = RowTable::numbers(past_keys(text)) * int64_t{sizeof(int32_t)};
  for (const Pass pass : passes_of(memory_.dependency())) uploaded += split_.uploaded_bytes(layout(text, pass).rows());
  return {2 * uploaded, uploaded};
}

SpaceBytes CellSizes::earlier_keys(int64_t keys, bool device) {
  const int64_t rows = keys * int64_t{sizeof(Row)}, uploaded = RowTable::numbers(keys) * int64_t{sizeof(int32_t)};
  return {device ? rows + uploaded : rows, device ? uploaded : 0};
}

int64_t CellSizes::numbers(int64_t batch, const SequenceShape& shape) const {
  return most([&](Pass pass) { return numbers(batch, shape, pass); });
}

int64_t CellSizes::numbers(int64_t batch, const SequenceShape& shape, Pass pass) const {
  constexpr int64_t kLists = 3;
  // Tokens, targets, those of the head; half of the rows ask at the most; position ids of the angles, and of keys that
  // are appended.
  const int64_t text = shape.text_of(0), rows = extent(1, text, pass).rows;
  const int64_t keys = pass == Pass::Encode ? layout(text, pass).back : 0;
  return kLists * batch * own_text_rows(text, pass) + RowTable::numbers((rows + 1) / 2) + angle_tables(batch) * rows +
         keys;
}

int64_t CellSizes::numbers_of(Range layers) const {
  int64_t numbers = 0;
  for (int64_t layer = layers.begin; layer < layers.end; ++layer) numbers += memory_.state_numbers(layer);
  return numbers;
}
int64_t CellSizes::most_state_numbers(const Extent& extent) const {
  int64_t most = 0;
  for (int32_t at = 0; at < extent.depth; ++at) most = std::max(most, state_numbers(extent.cell(0, 0, at)));
  return most;
}
int64_t CellSizes::state_numbers() const { return numbers_of({0, shape_.layers + 1}); }
int64_t CellSizes::state_numbers(const Cell& cell) const {
  return numbers_of({decoder_layers(cell).begin, cell.layer + cell.layers});
}
int64_t CellSizes::numbers_below(const Cell& cell) const { return numbers_of({0, decoder_layers(cell).begin}); }

}  // namespace memring
