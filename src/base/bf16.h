// bf16: the upper half of an fp32 number, and how fp32 is rounded to it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

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

/// A stored number (DType::BF16). Nothing is computed in it: operators compute in fp32 and round once, on the store.
struct Bf16 {
  uint16_t bits = 0;

  Bf16() = default;
  explicit Bf16(float x) : bits(static_cast<uint16_t>(bf16_bits(x))) {}
  float value() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }
  bool operator==(const Bf16&) const = default;
};

}  // namespace memring
