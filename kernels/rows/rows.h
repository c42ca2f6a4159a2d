// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring {

/// 0, 1, ..., count - 1: all rows, in their order.
std::vector<int32_t> ascending(size_t count);

/// Moves rows between tensors by their numbers: what memories and heads take of a segment's rows, and give back.
///
/// For each sequence, and i in ascending order: row to_rows[i] of `to` becomes, or has added, row from_rows[i] of
/// `from`. Other rows of `to` stay. Lists are of one length; an empty one, and an empty batch, do nothing. Throws
/// ShapeError for shapes and types that do not fit and for rows that are not there. All views fp32 or fp64, or fp32 and
/// bf16, which are converted; what is added to may be exact sums.
struct MoveRows {
  // to [batch, any, dim] · from [batch, any, dim], or [any, dim]: the same for every sequence
  static void run(Queue&, View<> to, std::span<const int32_t> to_rows, Write, ConstView<> from,
                  std::span<const int32_t> from_rows);

  // to [any, dim] += from [batch, any, dim], sequence after sequence: same bits for any number of threads; empty: the
  // rows are frozen, and nothing is done
  static void sum(Queue&, View<> to, std::span<const int32_t> to_rows, ConstView<> from,
                  std::span<const int32_t> from_rows);
};

/// Rows of all sequences, [batch * any, dim], as MoveRows takes them: [batch, any, dim].
template <class V>
V by_sequence(V rows, int64_t batch) {
  return rows.reshaped({batch, rows.dim(0) / batch, rows.dim(1)});
}

}  // namespace memring
