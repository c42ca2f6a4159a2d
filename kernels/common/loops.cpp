// Rounding loops of kernels/common, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/bf16.h"

namespace memring::MEMRING_ISA {
namespace {

void to_float(float* y, const float* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = round_to_bf16(x[i]);
}

void to_bf16(uint16_t* y, const float* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<uint16_t>(bf16_bits(x[i]));
}

}  // namespace

const Bf16Loops bf16_loops{to_float, to_bf16};

}  // namespace memring::MEMRING_ISA
