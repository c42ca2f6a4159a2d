// SPDX-License-Identifier: Apache-2.0
#include "engine/teacher_sizes.h"

#include "memory/mechanisms.h"

namespace memring {
TeacherSizes::TeacherSizes(const ModelShape& shape, DType dtype, TokenSplit split)
    : dtype_(dtype),
      dim_(shape.dim),
      split_(split),
      memory_(make_no_memory()),
      cells_(shape, *memory_, dtype, split, {}) {}

int64_t TeacherSizes::taught_bytes(int64_t batch, int64_t own) const {
  Arena arena;
  arena.take(dtype_, {batch * own, dim_});
  return arena.peak();
}

int64_t TeacherSizes::scratch_bytes(int64_t batch, int64_t text, int64_t raw) const {
  Arena arena;
  arena.take(dtype_, {batch, text, dim_});
  cells_.carve_passing(arena, batch, raw, Pass::Decode, cells_.carve_hidden(arena, batch, raw, Pass::Decode));
  return arena.peak() + cells_.scratch(batch, {raw, raw}, false);
}

int64_t TeacherSizes::collected_bytes(int64_t batch, int64_t text, int64_t raw) const {
  if (split_.ranks == 1) return 0;
  Arena arena;
  arena.take(dtype_, {batch, text, dim_});
  return arena.peak() + cells_.ring(batch, raw, false);
}

}  // namespace memring
