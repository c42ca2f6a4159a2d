// SPDX-License-Identifier: Apache-2.0
#include "data/distances.h"

#include <algorithm>

namespace memring {

IdRuns runs_of(std::span<const int32_t> ids) {
  IdRuns runs;
  for (const int32_t id : ids) {
    if (runs.empty() || runs.back().end != id) runs.push_back({id, id});
    ++runs.back().end;
  }
  return runs;
}

std::vector<Range> distances_of(const IdRuns& runs) {
  std::vector<Range> all;
  for (size_t later = 0; later < runs.size(); ++later) {
    all.push_back({0, runs[later].size()});
    for (size_t earlier = 0; earlier < later; ++earlier)
      all.push_back({runs[later].begin - (runs[earlier].end - 1), runs[later].end - runs[earlier].begin});
  }
  std::erase_if(all, [](Range r) { return r.size() <= 0; });
  std::ranges::sort(all, {}, &Range::begin);
  std::vector<Range> merged;
  for (const Range& range : all) {
    if (merged.empty() || merged.back().end < range.begin)
      merged.push_back(range);
    else
      merged.back().end = std::max(merged.back().end, range.end);
  }
  return merged;
}

void DistanceCoverage::add(const IdRuns& sample) {
  ++samples_;
  for (const Range& range : distances_of(sample)) {
    ++changes_[range.begin];
    --changes_[range.end];
  }
}

std::vector<double> DistanceCoverage::shares(int64_t count) const {
  const auto border = [&](int64_t bucket) { return target_ * bucket / count; };
  std::vector<double> shares(static_cast<size_t>(count));
  int64_t covering = 0, bucket = 0;
  for (auto change = changes_.begin(); change != changes_.end(); ++change) {
    covering += change->second;
    const auto next = std::next(change);
    const int64_t end = next == changes_.end() ? target_ : std::min(next->first, target_);
    for (int64_t at = change->first; at < end;) {
      while (border(bucket + 1) <= at) ++bucket;
      const int64_t stop = std::min(end, border(bucket + 1));
      shares[static_cast<size_t>(bucket)] += static_cast<double>((stop - at) * covering);
      at = stop;
    }
  }
  for (int64_t b = 0; b < count; ++b)
    shares[static_cast<size_t>(b)] /= static_cast<double>(std::max<int64_t>(border(b + 1) - border(b), 1) * samples_);
  return shares;
}

double DistanceCoverage::covered_share() const {
  int64_t covering = 0, begin = 0, covered = 0;
  for (const auto& [distance, change] : changes_) {
    if (covering > 0) covered += distance - begin;
    covering += change;
    begin = distance;
  }
  return static_cast<double>(covered) / static_cast<double>(target_);
}

}  // namespace memring
