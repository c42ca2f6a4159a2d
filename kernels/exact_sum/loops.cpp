// Terms to fixed point and into their sums, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/exact_sum/loops.h"

namespace memring::MEMRING_ISA {
namespace {

// Adding 1.5 * 2^52 units rounds to a whole number of units, which then stands in the low bits. base/exact.h names the
// units and the bound; the parts are added as unsigned numbers, since what is not used may overflow.
constexpr double kHighRound = 0x1.8p52 * 0x1p-8, kLowRound = 0x1.8p52 * 0x1p-46, kBound = 0x1p29;
constexpr uint64_t kNotANumber = uint64_t{1} << 63;

void add(int64_t* sums, const float* terms, int64_t count) {
  uint64_t* const s = reinterpret_cast<uint64_t*>(sums);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const double x = static_cast<double>(terms[i]);
    const double high = x + kHighRound, low = (x - (high - kHighRound)) + kLowRound;
    const uint64_t high_units = __builtin_bit_cast(uint64_t, high) - __builtin_bit_cast(uint64_t, kHighRound);
    const uint64_t low_units = __builtin_bit_cast(uint64_t, low) - __builtin_bit_cast(uint64_t, kLowRound);
    const bool bad = (s[2 * i] == kNotANumber) | !((x < kBound) & (x > -kBound));
    const uint64_t new_high = s[2 * i] + high_units, new_low = s[2 * i + 1] + low_units;
    s[2 * i] = bad ? kNotANumber : new_high;
    s[2 * i + 1] = bad ? 0 : new_low;
  }
}

}  // namespace

const ExactSumLoops exact_sum_loops{add};

}  // namespace memring::MEMRING_ISA
