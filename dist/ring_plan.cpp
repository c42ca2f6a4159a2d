// SPDX-License-Identifier: Apache-2.0
#include "dist/ring_plan.h"

#include <algorithm>

#include "dist/mesh_arithmetic.h"

namespace memring {

Range RingPlan::chunk(int index) const {
  const Range blocks = part_of((rows_ + block_ - 1) / block_, 2 * ranks_, index);
  return {std::min(blocks.begin * block_, rows_), std::min(blocks.end * block_, rows_)};
}

int64_t RingPlan::most() const {
  int64_t most = 0;
  for (int rank = 0; rank < ranks_; ++rank) most = std::max(most, count(rank));
  return most;
}

std::vector<int32_t> RingPlan::rows_of(int rank) const {
  std::vector<int32_t> rows;
  rows.reserve(static_cast<size_t>(count(rank)));
  for (const Range& chunk : chunks(rank))
    for (int64_t row = chunk.begin; row < chunk.end; ++row) rows.push_back(static_cast<int32_t>(row));
  return rows;
}

std::array<Range, 2> RingPlan::within(int rank, Range wanted) const {
  std::array<Range, 2> parts = chunks(rank);
  for (Range& part : parts) {
    part.begin = std::clamp(part.begin, wanted.begin, wanted.end);
    part.end = std::clamp(part.end, part.begin, wanted.end);
  }
  return parts;
}

std::vector<Row> rows_at(const std::vector<Row>& all, const std::vector<int32_t>& numbers) {
  std::vector<Row> rows;
  rows.reserve(numbers.size());
  for (const int32_t number : numbers) rows.push_back(all[static_cast<size_t>(number)]);
  return rows;
}

}  // namespace memring
