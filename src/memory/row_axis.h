// RowAxis: the rows of a cell that other ranks hold. With one rank on the token axis it is the identity;
// engine/token_axis.h puts a communicator behind it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/queue.h"

namespace memring {

class RowAxis {
 public:
  virtual ~RowAxis() = default;
  /// all [batch, wanted, dim]: the rows numbered `wanted` in the cell's whole layout, the same on every rank ·
  /// mine [batch, rows, dim]: the rows that this rank holds
  virtual void collect(Queue&, View<> all, ConstView<> mine, std::span<const int32_t> wanted) = 0;
  /// Sums `partial` over the ranks of the axis, in fixed order.
  virtual void sum(Queue&, View<> partial) = 0;
};

}  // namespace memring
