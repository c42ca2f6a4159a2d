// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/readback.h"

namespace memring {

/// Sum of squares in double: of blocks whose bounds follow from the size alone, and of those in ascending order. Same
/// bits for any thread count.
/// The global gradient norm is the square root of its sum over all ranks' shards.
struct SquaredNorm {
  static double of(Queue&, ConstView<> x);  // x any shape, fp32 or fp64; 0 when empty; NaN and Inf pass through
  // sum [1] += that of x
  static void add(Queue&, View<double> sum, ConstView<> x);
  // of each `block` elements of x by themselves, the last of which may be short
  static std::vector<double> of_blocks(Queue&, ConstView<> x, int64_t block);
};

/// The same as `of`, wherever x is: the host waits for a device. What it takes there, it takes at the first call.
class SquaredNormReader {
 public:
  static SpaceBytes bytes_beside_device();  ///< with one
  double read(Queue&, ConstView<> x);

 private:
  Arena arena_;
  Readback<double> norm_;
};

}  // namespace memring
