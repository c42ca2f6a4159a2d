// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring {

/// Sums whose bits do not depend on the order of their terms, element by element (base/exact.h says how: grid, range
/// and what a term beyond it does). The sums of `run.deterministic = strict`.
struct ExactSum {
  // sums += terms: sums exact, terms fp32, fp64 or exact, shapes equal (a part of other operators: notes no time of its
  // own)
  static void add(Queue&, View<> sums, ConstView<> terms);
  // values = (+=) sums, each rounded once to the type of values, fp32 or fp64; NaN where the sum is not a number
  static void round(Queue&, View<> values, Write, ConstView<> sums);
};

}  // namespace memring
