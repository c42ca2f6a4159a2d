// Tiles of 64 query rows and 64 keys, by which attention's kernels for bf16 go: which of them see each other at all,
// and where their rows lie in a block's memory. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <copy_async.h>
#include <lane.h>

#include "kernels/attention/device_keys.h"

namespace memring {

constexpr int kTile = RowTable::kTile;
constexpr int kThreadsOfTile = 128;  ///< of a block: all of them copy

enum class Sight : uint8_t { None, Some, All };

/// Whether queries with these extremes see keys with these. Some: perhaps none.
constexpr Sight sight_of(const RowExtremes& queries, const RowExtremes& keys) {
  const bool sinks = keys.order[0] < kSinksEnd, only_sinks = keys.order[1] < kSinksEnd;
  if ((keys.order[0] >= queries.from[1] || only_sinks) && keys.order[1] <= queries.to[0]) return Sight::All;
  const bool in_range = (keys.order[1] >= queries.from[0] || sinks) && keys.order[0] <= queries.to[1];
  const bool themselves = keys.order[1] >= queries.order[0] && keys.order[0] <= queries.order[1];
  return in_range || themselves ? Sight::Some : Sight::None;
}

/// A tile of 64 rows from `first` on, of which `all` sees whatever is not behind the last. (Rows are fewer than 2^31,
/// as their orders are; numbers of 64 bits would take registers.)
struct Tile {
  int first = -1;
  bool all = false;
  MEMRING_LANE bool found() const { return first >= 0; }
};

/// The tiles of some rows that are seen, or that see, in ascending order. All lanes of all warps of a block go along:
/// each classifies one of 32 tiles, and ballots say which are next.
class TileWalk {
 public:
  MEMRING_LANE TileWalk(const RowExtremes* tiles, int64_t rows) : tiles_(tiles), rows_(static_cast<int>(rows)) {}

  /// sight(extremes of a tile)
  template <class S>
  MEMRING_LANE Tile next(const S& sight) {
#pragma unroll 1
    while (seen_ == 0) {
      group_ += kWarp;
      if (group_ * kTile >= rows_) return {};
      const int mine = group_ + lane_index();
      const Sight found = mine * kTile < rows_ ? sight(tiles_[mine]) : Sight::None;
      seen_ = ballot(found != Sight::None);
      whole_ = ballot(found == Sight::All);
    }
    const int tile = lowest_bit(seen_);
    seen_ &= seen_ - 1;
    const int first = (group_ + tile) * kTile;
    return {first, ((whole_ >> tile) & 1u) != 0 && first + kTile <= rows_};
  }

 private:
  const RowExtremes* tiles_;
  int rows_, group_ = -kWarp;
  uint32_t seen_ = 0, whole_ = 0;
};

/// How many of a tile's rows there are.
MEMRING_LANE int rows_of_tile(const Tile& tile, int64_t rows) {
  return rows - tile.first < kTile ? static_cast<int>(rows - tile.first) : kTile;
}

/// The tiles of keys, span after span, that queries with these extremes see.
template <class T>
class SpanWalk {
 public:
  MEMRING_LANE SpanWalk(const DeviceSpans<T>& spans, const RowExtremes& queries)
      : spans_(spans), queries_(queries), walk_(nullptr, 0) {}

  MEMRING_LANE Tile next() {
    const auto sight = [this](const RowExtremes& keys) { return sight_of(queries_, keys); };
    Tile tile = walk_.next(sight);
    while (!tile.found() && span_ + 1 < spans_.count) {
      ++span_;
      walk_ = TileWalk(span().tiles, span().count);
      tile = walk_.next(sight);
    }
    return tile;
  }
  /// Of the latest tile.
  MEMRING_LANE const DeviceKeys<T>& span() const { return spans_.of[span_]; }

 private:
  const DeviceSpans<T>& spans_;
  const RowExtremes queries_;
  TileWalk walk_;
  int span_ = -1;
};

/// 64 rows of Dim numbers in a block's memory. The pieces of 16 bytes of a row lie in another order than in the row, by
/// which the eight rows of a matrix that a warp loads lie in different banks.
template <int Dim>
struct alignas(128) RowsOfTile {
  static constexpr int kPieces = Dim / 8;
  Bf16 numbers[kTile * Dim];

  MEMRING_LANE Bf16* piece(int row, int number) {
    const int turned = kPieces >= 8 ? number ^ (row & 7) : number ^ ((row >> 1) & (kPieces - 1));
    return numbers + row * Dim + 8 * turned;
  }
  /// Begins to copy rows first to first + 63 of `from` [rows, dim]; what is behind the last row, or wider, is 0. A
  /// thread has one column of pieces, whose place in a row is the same in all of its rows: its addresses go on by equal
  /// steps.
  MEMRING_LANE void copy(const Bf16* from, int64_t first, int64_t rows, int64_t dim) {
    constexpr int kAtOnce = kThreadsOfTile / kPieces;  // rows
    static_assert(kAtOnce % 8 == 0, "the order of a row's pieces has a period of 8 rows");
    const int mine = thread_index() / kPieces, number = thread_index() % kPieces;
    const int left = 8 * number < dim ? static_cast<int>(rows - first) : 0;
    const Bf16* there = from + (first + mine) * dim + 8 * number;
    Bf16* here = piece(mine, number);
#pragma unroll 1
    for (int row = mine; row < kTile; row += kAtOnce) {
      copy_async(here, row < left ? there : from, row < left ? 16 : 0);
      there += kAtOnce * dim;
      here += kAtOnce * Dim;
    }
  }
};

/// Begins to copy the Rows first to first + 63, each 16 bytes; what is behind the last one is 0.
MEMRING_LANE void copy_rows(Row (&to)[kTile], const Row* from, int64_t first, int64_t rows) {
  if (thread_index() >= kTile) return;
  const int64_t row = first + thread_index();
  copy_async(&to[thread_index()], row < rows ? from + row : from, row < rows ? 16 : 0);
}

}  // namespace memring
