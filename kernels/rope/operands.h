// Rotary position embedding: its extents, as every backend takes them. Private to kernels/rope.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

struct RopeExtents {
  int64_t batch, heads, rows, half;
  int64_t tables;  ///< of angles: one for each sequence, or 1 for all

  /// Where the angles of a row of a sequence are in the tables.
  int64_t angles_of(int64_t sequence, int64_t row) const { return ((tables == 1 ? 0 : sequence) * rows + row) * half; }
};

}  // namespace memring
