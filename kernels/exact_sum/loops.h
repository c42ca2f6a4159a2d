// Exact sums: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct ExactSumLoops {
  // sums [count] as pairs (high, low)
  void (*add)(int64_t* sums, const float* terms, int64_t count);
};
MEMRING_DECLARE_LOOPS(ExactSumLoops, exact_sum_loops)

}  // namespace memring
