// Sum of squares in double, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/loops.h"

namespace memring::MEMRING_ISA {
namespace {

double squares(const float* x, int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace

const NormLoops norm_loops{squares};

}  // namespace memring::MEMRING_ISA
