// SPDX-License-Identifier: Apache-2.0
#include "engine/teacher.h"

#include "base/error.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/rows/rows.h"

namespace memring {

Teacher::Teacher(Queue& queue, const Params& params, const Llama& llama, TokenAxis& axis, CellNumbers& ids, DType dtype)
    : queue_(queue),
      base_(llama.without_trained_updates(params)),
      axis_(axis),
      dtype_(dtype),
      sizes_(llama.shape(), dtype, axis.split()),
      runner_(queue, {params, base_, sizes_.memory()}, axis, sizes_.cells(), ids) {}

int64_t Teacher::allocate(int64_t batch, int64_t raw) {
  const int64_t angles = sizes_.cells().angles(batch, raw);
  runner_.allocate_angles(angles, rotary_scale(base_.shape().rotary, base_.shape().head_dim, raw));
  return angles;
}

View<> Teacher::rows(const CellText& raw, int64_t text, const std::array<Range, 2>& own, Arena& scratch) {
  check(text <= raw.text, fmt::format("a teacher who sees {} tokens of a segment of {}", raw.text, text));
  const int64_t dim = base_.shape().dim, here = own[0].size() + own[1].size();
  const View<> taught = scratch.take(dtype_, {raw.batch * here, dim});
  const ArenaScope scope(scratch);
  const View<> all = scratch.take(dtype_, {raw.batch, text, dim});
  const CellSizes& cells = sizes_.cells();
  CellSaved passing = cells.carve_passing(scratch, raw.batch, raw.text, Pass::Decode,
                                          cells.carve_hidden(scratch, raw.batch, raw.text, Pass::Decode));
  const Cell whole{.stream = 0,
                   .segment = 0,
                   .layer = -1,
                   .layers = static_cast<int16_t>(base_.shape().layers + 2),
                   .pass = Pass::Decode};
  runner_.forward(raw, whole, passing, {.in = {}, .out = {}}, scratch);
  axis_.collect(queue_, all, {raw.text - text, raw.text}, by_sequence(passing.normed, raw.batch), axis_.numbers());
  int64_t first = 0;
  for (int64_t b = 0; b < raw.batch; ++b)
    for (const Range& piece : own) {
      if (piece.size() > 0)
        Elementwise::copy(queue_, taught.rows(first, piece.size()), all.at(b).rows(piece.begin, piece.size()));
      first += piece.size();
    }
  return taught;
}

}  // namespace memring
