// Feature map and associative memory: inner loops over one row, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct AssociativeLoops {
  /// phi [2 nu key_dim] of x [key_dim]; u [2 key_dim] is scratch.
  void (*features)(float* phi, const float* x, float* u, int64_t key_dim, int64_t nu);
  /// u [4 key_dim] is scratch; dx may be x.
  void (*features_backward)(float* dx, const float* d_phi, const float* x, float* u, int64_t key_dim, int64_t nu);

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
