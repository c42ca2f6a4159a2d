// Feature map: inner loops over one row, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct DpfpLoops {
  /// phi [2 nu key_dim] of x [key_dim]; u [2 key_dim] is scratch.
  void (*forward)(float* phi, const float* x, float* u, int64_t key_dim, int64_t nu);
  /// u [4 key_dim] is scratch; dx may be x.
  void (*backward)(float* dx, const float* d_phi, const float* x, float* u, int64_t key_dim, int64_t nu);
};
MEMRING_DECLARE_LOOPS(DpfpLoops, dpfp_loops)

}  // namespace memring
