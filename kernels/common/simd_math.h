// Elementary functions for loops.cpp files: plain arithmetic that GCC vectorises under `#pragma omp simd`. Private
// to kernels/.  A loops.cpp file is compiled once per instruction set and the linker keeps one copy of each inline
// function, so one built for AVX-512 could end up in the baseline path. Hence everything here is static and always
// inlined, and loops.cpp files use no templates or inline functions of the standard library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

/// e^x, relative error below 2e-7 wherever the result is a normal number. Below that exactly 0, above it Inf; NaN stays
/// NaN. (Range reduction and polynomial of Cephes' expf, S. Moshier 1992.)
[[gnu::always_inline]] static inline float simd_exp(float x) {
  constexpr float kLowest = -87.33654f, kHighest = 88.72283f;  // logarithms of the smallest and largest normal number
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts: the first product is exact
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n by adding n to the exponent: one step that reaches both ends of the range, where 2^n alone would not be normal.
  const uint32_t bits = __builtin_bit_cast(uint32_t, p) + (__builtin_bit_cast(uint32_t, shifted) << 23);
  float y = __builtin_bit_cast(float, bits);
  y = x < kLowest ? 0.0f : y;
  y = x > kHighest ? __builtin_inff() : y;
  return x == x ? y : x;
}

/// 1 / (1 + e^-x).
[[gnu::always_inline]] static inline float simd_sigmoid(float x) { return 1.0f / (1.0f + simd_exp(-x)); }

}  // namespace memring
