// AdamW, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/loops.h"

namespace memring::MEMRING_ISA {
namespace {

void step(float* w, float* m, float* v, const float* grad, int64_t count, const AdamWFactors& factors) {
  const AdamWFactors f = factors;  // a copy that w, m, v cannot alias
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float g = grad[i] * f.grad_scale;
    const float first = f.beta1 * m[i] + f.rest1 * g;
    const float second = f.beta2 * v[i] + f.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    // The decay is added to the update, not multiplied as (1 - lr decay): that factor would lose its digits next to 1.
    w[i] -= f.lr * (first * f.correction1 / (__builtin_sqrtf(second * f.correction2) + f.eps) + f.decay * w[i]);
  }
}

}  // namespace

const AdamWLoops adamw_loops{step};

}  // namespace memring::MEMRING_ISA
