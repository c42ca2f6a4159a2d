// RingPlan: which rows of a segment's layout each rank of a token axis holds, and which rank's keys it meets when. A
// value: integers only, the same on every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace memring {

/// Zigzag (DualChunkSwap, TransformerEngine; specs/ring.md 1.4): the rows are cut into 2R near-equal chunks, of which
/// rank r holds chunk r and chunk 2R - 1 - r. Under a causal mask all ranks then have the same work at every hop: a
/// chunk sees the more keys the later it stands, and the two add up. Chunks may be empty. Keys go round the ring: at
/// hop i rank r computes on those of rank r - i. Chunks begin at multiples of `block` rows.
class RingPlan {
 public:
  RingPlan(int64_t rows, int ranks, int64_t block = 1) : rows_(rows), ranks_(ranks), block_(block) {}

  int ranks() const { return ranks_; }
  int64_t rows() const { return rows_; }  ///< of the whole layout
  /// The two chunks of a rank, ranges of rows of the layout, ascending.
  std::array<Range, 2> chunks(int rank) const { return {chunk(rank), chunk(2 * ranks_ - 1 - rank)}; }
  int64_t count(int rank) const {
    const auto [low, high] = chunks(rank);
    return low.size() + high.size();
  }
  int64_t most() const;  ///< the largest count
  /// The rows of a rank in ascending order, as numbers in the layout.
  std::vector<int32_t> rows_of(int rank) const;
  /// The part of [begin, end) of the layout that a rank holds: at most two ranges, numbered in the layout.
  std::array<Range, 2> within(int rank, Range) const;

  /// Whose keys rank r computes on at hop i of R, and who computes on its own then.
  int owner(int rank, int hop) const { return (rank - hop + ranks_) % ranks_; }
  int reader(int rank, int hop) const { return (rank + hop) % ranks_; }

  bool operator==(const RingPlan&) const = default;

 private:
  Range chunk(int index) const;

  int64_t rows_;
  int ranks_;
  int64_t block_;
};

/// Those of `all` whose numbers are given.
std::vector<Row> rows_at(const std::vector<Row>& all, const std::vector<int32_t>& numbers);

}  // namespace memring
