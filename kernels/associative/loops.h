// Associative memory: inner loops over one row, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct AssociativeLoops {
  float (*dot)(const float* a, const float* b, int64_t count);
  void (*scale)(float* x, float factor, int64_t count);
  void (*add_scaled)(float* y, float factor, const float* x, int64_t count);
  /// x = (x - along * z) * factor
  void (*subtract_and_scale)(float* x, float along, const float* z, float factor, int64_t count);
  /// num becomes beta * (v - num * inv_den).
  void (*weigh)(float* num, const float* v, float inv_den, float beta, int64_t count);
};
MEMRING_DECLARE_LOOPS(AssociativeLoops, associative_loops)

}  // namespace memring
