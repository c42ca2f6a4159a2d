// Layout: how the rows of a segment lie, memory rows in front of its text and behind it, as a value of a few counts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/ids.h"

namespace memring {

/// [ front | text | back ], numbered from 0: these are the orders, and, where nothing else is said, the positions.
struct Layout {
  int64_t front = 0, text = 0, back = 0;  ///< rows of each part
  /// Causal: a row sees those up to itself. Block: a memory row sees its whole part as well. Prefix: the i-th of m rows
  /// behind n rows of text sees the first (i + 1) n / m of these, and itself alone of the memory; its position is the
  /// one behind them.
  MemoryMask mask = MemoryMask::Causal;
  /// Every row sees keys of earlier segments as well (Memory::keys_before): those have the order kEarlier.
  bool sees_earlier = false;
  static constexpr int32_t kEarlier = -1;

  int64_t rows() const { return front + text + back; }
  Range front_rows() const { return {0, front}; }
  Range text_rows() const { return {front, front + text}; }
  Range back_rows() const { return {front + text, rows()}; }
  Row row(int64_t number) const {
    const auto i = static_cast<int32_t>(number);
    Row row{.position = i, .order = i, .from = sees_earlier ? kEarlier : 0, .to = i};
    if (mask == MemoryMask::Prefix && number >= front + text) {
      row.position = static_cast<int32_t>(front + (number - front - text + 1) * (text / back));
      row.to = row.position - 1;
    }
    if (mask == MemoryMask::Block && number < front) row.to = static_cast<int32_t>(front - 1);
    if (mask == MemoryMask::Block && number >= front + text) row.to = static_cast<int32_t>(rows() - 1);
    return row;
  }
  std::vector<Row> table() const {
    std::vector<Row> table;
    table.reserve(static_cast<size_t>(rows()));
    for (int64_t i = 0; i < rows(); ++i) table.push_back(row(i));
    return table;
  }
  bool operator==(const Layout&) const = default;
};

}  // namespace memring
