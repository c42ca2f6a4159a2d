// Rotary position embedding: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct RopeLoops {
  // All heads of one row, `out_stride` and `in_stride` apart; direction 1 rotates by the angles, -1 back.
  void (*rotate)(float* out, int64_t out_stride, const float* in, int64_t in_stride, const float* cos, const float* sin,
                 float direction, int64_t heads, int64_t half);
};
MEMRING_DECLARE_LOOPS(RopeLoops, rope_loops)

}  // namespace memring
