// RowAxis: the rows of a cell that other ranks hold. With one rank on the token axis it is the identity;
// engine/token_axis.h puts a transport behind it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/ids.h"
#include "base/queue.h"

namespace memring {

class RowAxis {
 public:
  virtual ~RowAxis() = default;
  /// all [batch, size of `wanted`, dim]: those rows of the cell's whole layout, numbered from wanted.begin on, the same
  /// on every rank · mine [batch, any, dim]: rows that this rank holds, with their numbers, ascending
  virtual void collect(Queue&, View<> all, Range wanted, ConstView<> mine, std::span<const int32_t> numbers) = 0;
  /// Sums `partial` over the ranks of the axis, in fixed order.
  virtual void sum(Queue&, View<> partial) = 0;
};

}  // namespace memring
