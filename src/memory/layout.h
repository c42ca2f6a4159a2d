// Layout: how the rows of a segment lie, memory rows in front of its text and behind it, as a value of a few counts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/ids.h"

namespace memring {

/// [ front | text | back ], numbered from 0. Positions and orders are the numbers.
struct Layout {
  int64_t front = 0, text = 0, back = 0;  ///< rows of each part
  /// Causal: a row sees those up to itself. Block: a memory row sees its whole part as well.
  MemoryMask mask = MemoryMask::Causal;

  int64_t rows() const { return front + text + back; }
  Range front_rows() const { return {0, front}; }
  Range text_rows() const { return {front, front + text}; }
  Range back_rows() const { return {front + text, rows()}; }
  Row row(int64_t number) const {
    const auto i = static_cast<int32_t>(number);
    Row row{.position = i, .order = i, .from = 0, .to = i};
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
