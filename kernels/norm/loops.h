// Sum of squares: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct NormLoops {
  double (*squares)(const float* x, int64_t count);
};
MEMRING_DECLARE_LOOPS(NormLoops, norm_loops)

}  // namespace memring
