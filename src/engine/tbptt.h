// TBPTT: over which segment boundaries gradients flow (DESIGN.md, section 3). The state always crosses with its
// value; its adjoint is multiplied by the boundary's weight. A pure function of the step, so nothing needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace memring {

/// Weights per boundary; boundary s lies between segments s-1 and s (the first entry is ignored).
struct BoundaryWeights {
  int64_t segments = 1;
  std::vector<double> values;  ///< [segments], the same for all sequences, or [sequences, segments]

  double at(int64_t sequence, int64_t segment) const {
    const bool alike = std::ssize(values) == segments;
    return values[static_cast<size_t>(alike ? segment : sequence * segments + segment)];
  }
  /// [segments]: the weight is 0 for all of these sequences: no message, rows freed early.
  std::vector<bool> closed(Range sequences) const;
};

/// full: 1 everywhere. window K: 0 where the segment number is a multiple of K, else 1. unbiased: 0 with probability
/// `cut`, else 1 / (1 - cut), drawn for each sequence and boundary by itself: the expected weight of every path through
/// any number of boundaries is 1, so the expected gradient is the full one (randomised truncation; Tallec and Ollivier
/// 2017, "Unbiasing truncated backpropagation through time").
class Tbptt {
 public:
  static Tbptt full() { return {}; }
  static Tbptt windows(int64_t length);
  static Tbptt unbiased(double cut, uint64_t seed);

  BoundaryWeights draw(int64_t step, int64_t sequences, int64_t segments) const;
  /// The boundaries that are closed at every step: what memory is planned by.
  std::vector<bool> always_closed(int64_t segments) const;
  /// Relative variance of what a path through this many boundaries adds to the gradient: (1 - cut)^-boundaries - 1.
  double path_variance(int64_t boundaries) const;

 private:
  int64_t window_ = 0;
  double cut_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace memring
