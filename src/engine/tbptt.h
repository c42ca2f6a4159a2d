// TBPTT: over which segment boundaries gradients flow (DESIGN.md, section 3). The state always crosses with its
// value; its adjoint is multiplied by the boundary's weight. A pure function of the step, so nothing needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace memring {

/// Weights per boundary; boundary s lies between segments s-1 and s (the first entry is ignored).
struct BoundaryWeights {
  int64_t segments = 1;
  std::vector<double> values;  ///< [segments], the same for all sequences, or [sequences, segments]
  /// Of memories that segments append (uio), which have no boundaries: the last segment whose loss reaches that of a
  /// segment, of the same extents; empty: all do.
  std::vector<int32_t> last{};
  int64_t reservoir = 0;  ///< how many memories are alive at a time; 0: those that are have the weight 1

  double at(int64_t sequence, int64_t segment) const { return of(values, sequence, segment); }
  /// Whether the loss of a segment reaches the memory of an earlier one.
  bool alive(int64_t sequence, int64_t segment, int64_t memory) const {
    return last.empty() || segment <= of(last, sequence, memory);
  }
  /// What it is multiplied by there: of n memories each is alive with probability reservoir / n.
  double weight_of_alive(int64_t segment) const {
    return reservoir == 0 ? 1 : std::max(1.0, static_cast<double>(segment) / static_cast<double>(reservoir));
  }
  /// [segments]: the weight is 0 for all of these sequences: no message, rows freed early.
  std::vector<bool> closed(Range sequences) const;

 private:
  template <class T>
  T of(const std::vector<T>& numbers, int64_t sequence, int64_t segment) const {
    const bool alike = std::ssize(numbers) == segments;
    return numbers[static_cast<size_t>(alike ? segment : sequence * segments + segment)];
  }
};

/// For each memory of a sequence the last segment at which a reservoir holds it; one more than there are: to the end.
/// A memory is offered behind its segment's loss: the first `places` are taken, and then draws[segment], uniform in 0
/// .. segment, says whose place it takes, if anybody's (Vitter 1985, algorithm R).
std::vector<int32_t> last_alive(int64_t places, std::span<const int32_t> draws);

/// full: 1 everywhere. window K: 0 where the segment number is a multiple of K, else 1. unbiased: 0 with probability
/// `cut`, else 1 / (1 - cut), drawn for each sequence and boundary by itself: the expected weight of every path through
/// any number of boundaries is 1, so the expected gradient is the full one (randomised truncation; Tallec and Ollivier
/// 2017, "Unbiasing truncated backpropagation through time").
///
/// Of memories that segments append: nearest K: a loss reaches those of the K segments before it. reservoir S: a random
/// S of all before it (last_alive), with the weight max(1, n / S) for n of them, which again makes the expected
/// gradient the full one (Li et al. 2024, "UIO-LLMs: Unbiased Incremental Optimization for Long-Context LLMs").
class Tbptt {
 public:
  static Tbptt full() { return {}; }
  static Tbptt windows(int64_t length);
  static Tbptt unbiased(double cut, uint64_t seed);
  static Tbptt nearest(int64_t memories);
  static Tbptt reservoir(int64_t memories, uint64_t seed);

  BoundaryWeights draw(int64_t step, int64_t sequences, int64_t segments) const;
  /// The boundaries that are closed at every step: what memory is planned by.
  std::vector<bool> always_closed(int64_t segments) const;
  /// Not everything that losses send to memories that segments append goes on into these.
  bool selects_memories() const { return nearest_ + reservoir_ > 0; }
  /// Relative variance of what a path through this many boundaries adds to the gradient: (1 - cut)^-boundaries - 1.
  double path_variance(int64_t boundaries) const;

 private:
  int64_t window_ = 0, nearest_ = 0, reservoir_ = 0;
  double cut_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace memring
