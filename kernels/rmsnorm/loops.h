// RMSNorm: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"
#include "kernels/common/write.h"

namespace memring {

struct RmsNormLoops {
  void (*forward)(float* y, float* inv_rms, const float* x, const float* gain, int64_t rows, int64_t dim, float eps);
  // dgain [dim] is accumulated, rows ascending
  void (*backward)(float* dx, Write write, float* dgain, const float* dy, const float* x, const float* gain,
                   const float* inv_rms, int64_t rows, int64_t dim);
};
MEMRING_DECLARE_LOOPS(RmsNormLoops, rmsnorm_loops)

}  // namespace memring
