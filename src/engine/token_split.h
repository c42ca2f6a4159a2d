// TokenSplit: which rows of a layout one rank of a token axis holds, and what its messages take. A value, so that it
// can be asked where no such rank is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>

#include "base/view.h"
#include "dist/ring_plan.h"
#include "model/shape.h"

namespace memring {

struct TokenSplit {
  int ranks = 1, rank = 0;
  int64_t block = 0;  ///< rows of a canonical block (Queue::Options::block), or 0

  RingPlan plan(int64_t rows) const { return RingPlan(rows, ranks, std::max<int64_t>(block, 1)); }
  /// How many rows of a layout of `rows` are here, and which rows of [begin, end) of it: two ranges, either may be
  /// empty.
  int64_t count(int64_t rows) const { return plan(rows).count(rank); }
  std::array<Range, 2> within(int64_t rows, Range wanted) const { return plan(rows).within(rank, wanted); }
  /// Message buffers for cells of `batch` sequences and layouts of up to `rows` rows.
  int64_t buffer_bytes(const ModelShape&, DType, int64_t batch, int64_t rows, bool backward) const;
  /// What entering a layout of so many rows takes, on the host (TokenAxis::enter).
  int64_t table_bytes(int64_t rows) const;
  /// What is uploaded of it to a device, and stays there (RowStore).
  int64_t uploaded_bytes(int64_t rows) const;
};

}  // namespace memring
