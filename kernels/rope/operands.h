// Rotary position embedding: its extents, as every backend takes them. Private to kernels/rope.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

struct RopeExtents {
  int64_t batch, heads, rows, half;
};

}  // namespace memring
