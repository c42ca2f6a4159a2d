// Layout change between projections and attention: its extents, as every backend takes them. Private to kernels/heads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

struct HeadsExtents {
  int64_t batch, heads, rows, head_dim;
};

}  // namespace memring
