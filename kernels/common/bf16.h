// Rounding of product operands to bf16 (nearest even), where Products::Bf16 asks for it. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

/// The bf16 number nearest to x, even on a tie, as its upper 16 bits; NaN stays NaN.
[[gnu::always_inline]] static inline uint32_t bf16_bits(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (x == x ? rounded : bits | 0x400000u) >> 16;
}

/// The same as a float.
[[gnu::always_inline]] static inline float round_to_bf16(float x) {
  return __builtin_bit_cast(float, bf16_bits(x) << 16);
}

struct Bf16Loops {
  void (*to_float)(float* y, const float* x, int64_t count);    ///< y = x rounded, held in fp32
  void (*to_bf16)(uint16_t* y, const float* x, int64_t count);  ///< y = x as bf16
};
MEMRING_DECLARE_LOOPS(Bf16Loops, bf16_loops)

}  // namespace memring
