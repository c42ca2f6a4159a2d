// Gated activation, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/loops.h"

#include "kernels/common/simd_math.h"

namespace memring::MEMRING_ISA {
namespace {

void forward(float* y, const float* gate, const float* up, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = gate[i] * simd_sigmoid(gate[i]) * up[i];
}

void backward(float* d_gate, float* d_up, float* y, const float* dy, const float* gate, const float* up,
              int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float d = dy[i], g = gate[i], u = up[i], s = simd_sigmoid(g);
    const float activated = g * s;
    d_gate[i] = d * u * s * (1.0f + g * (1.0f - s));
    d_up[i] = d * activated;
    y[i] = activated * u;
  }
}

}  // namespace

const SwiGluLoops swiglu_loops{forward, backward};

}  // namespace memring::MEMRING_ISA
