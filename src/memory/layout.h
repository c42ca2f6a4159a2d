// Layout: how the rows of a segment lie, memory rows in front of its text and behind it, and which keys of earlier
// segments they see, as a value of a few counts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "base/ids.h"

namespace memring {

/// [ front | text | back ], numbered from 0: these are the orders, but for attention sinks, and, where nothing else is
/// said, the positions.
struct Layout {
  int64_t front = 0, text = 0, back = 0;  ///< rows of each part
  /// Causal: a row sees those up to itself. Block: a memory row sees its whole part as well. Prefix: the i-th of m rows
  /// behind n rows of text sees the first (i + 1) n / m of these, and itself alone of the memory; its position is the
  /// one behind them.
  MemoryMask mask = MemoryMask::Causal;
  /// A row sees so many up to itself, and the sinks; 0: all that there are.
  int64_t window = 0;
  int64_t sinks = 0;  ///< attention sinks among the rows: the first ones
  /// Keys of earlier segments: attention sinks, and behind them those right before the segment's, with the orders -past
  /// to -1, of which the ones below `first` do not exist (the sequence has only begun) and are not seen.
  int64_t past_sinks = 0, past = 0, first = 0;
  /// Every row sees keys of all earlier segments (Memory::keys_before): those have the order kEarlier.
  bool sees_earlier = false;
  static constexpr int32_t kEarlier = -1;

  int64_t rows() const { return front + text + back; }
  Range front_rows() const { return {0, front}; }
  Range text_rows() const { return {front, front + text}; }
  Range back_rows() const { return {front + text, rows()}; }
  Row row(int64_t number) const {
    const auto i = static_cast<int32_t>(number);
    if (number < sinks) return {.position = i, .order = kFirstSink + i, .from = kFirstSink, .to = kFirstSink + i};
    Row row{.position = i, .order = i, .from = sees_earlier ? kEarlier : static_cast<int32_t>(first), .to = i};
    if (window > 0) row.from = std::max(row.from, static_cast<int32_t>(number - window + 1));
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
  int64_t past_keys() const { return past_sinks + past; }
  /// As keys: they ask for nothing.
  std::vector<Row> past_table() const {
    std::vector<Row> table(static_cast<size_t>(past_keys()));
    for (int64_t i = 0; i < past_keys(); ++i)
      table[static_cast<size_t>(i)].order =
          static_cast<int32_t>(i < past_sinks ? kFirstSink + i : i - past_sinks - past);
    return table;
  }
  bool operator==(const Layout&) const = default;
};

}  // namespace memring
