// TBPTT: over which segment boundaries gradients flow (DESIGN.md, section 3). The state always crosses with its
// value; its adjoint is multiplied by the boundary's weight: full = 1 everywhere, window K = 0 where the segment
// number is a multiple of K and 1 elsewhere. A pure function of the step, so nothing needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace memring {

/// Weights per boundary; boundary s lies between segments s-1 and s. Unbiased truncation will add weights per sequence.
struct BoundaryWeights {
  std::vector<bool> closed;  ///< [segments]: the weight is 0 for all sequences: no message, rows freed early
};

class Tbptt {
 public:
  /// window 0: full back-propagation through time.
  explicit Tbptt(int64_t window) : window_(window) {}
  BoundaryWeights draw(int64_t segments) const;

 private:
  int64_t window_;
};

}  // namespace memring
