// Relative distances: which a sample of position ids lets attention see, and how evenly many samples cover a window.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "data/position_samplers.h"

namespace memring {

/// Ascending ids in as few runs as there are.
IdRuns runs_of(std::span<const int32_t> ids);

/// Distances between two ids of a sample, 0 included: disjoint ranges in ascending order. Time and memory grow with the
/// square of the number of runs.
std::vector<Range> distances_of(const IdRuns&);

/// How many of some samples cover each distance of [0, target).
class DistanceCoverage {
 public:
  explicit DistanceCoverage(int64_t target) : target_(target) {}
  void add(const IdRuns& sample);

  int64_t samples() const { return samples_; }
  /// Of `count` buckets of equal width: the share of samples that cover a distance of it, on average.
  std::vector<double> shares(int64_t count) const;
  double mean_share() const { return shares(1)[0]; }  ///< of the target's distances that a sample covers
  double covered_share() const;                       ///< of the target's distances that some sample covers

 private:
  int64_t target_, samples_ = 0;
  std::map<int64_t, int64_t> changes_;  ///< by distance: how many more samples cover it than the one before
};

}  // namespace memring
