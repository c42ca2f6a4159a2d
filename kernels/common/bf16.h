// Rounding of product operands to bf16 (nearest even), where Products::Bf16 asks for it. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/bf16.h"
#include "kernels/common/isa_loops.h"

namespace memring {

struct Bf16Loops {
  void (*to_float)(float* y, const float* x, int64_t count);    ///< y = x rounded, held in fp32
  void (*to_bf16)(uint16_t* y, const float* x, int64_t count);  ///< y = x as bf16
};
MEMRING_DECLARE_LOOPS(Bf16Loops, bf16_loops)

}  // namespace memring
