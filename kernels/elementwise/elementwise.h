// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Small passes over memory that have no better home. fp32, fp64 or bf16, all views alike, shapes equal; a copy
/// converts between fp32 and bf16.
struct Elementwise {
  static void copy(Queue&, View<> y, ConstView<> x);
  static void fill(Queue&, View<> y, double value);    ///< exact sums: with 0
  static void scale(Queue&, View<> y, double factor);  ///< y *= factor
  /// Residual addition y = a + b; y may be a or b. Its backward passes dy to both sides: nothing to compute.
  /// y, and then a, which is y, may be exact sums; or b alone, rounded.
  static void add(Queue&, View<> y, ConstView<> a, ConstView<> b);
};

}  // namespace memring
