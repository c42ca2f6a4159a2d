// RMSNorm over rows that stay in the first-level cache between the two passes; built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/loops.h"

namespace memring::MEMRING_ISA {
namespace {

void forward(float* y, float* inv_rms, const float* x, const float* gain, int64_t rows, int64_t dim, float eps) {
  for (int64_t r = 0; r < rows; ++r, x += dim, y += dim) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; ++i) sum += x[i] * x[i];
    const float inv = 1.0f / __builtin_sqrtf(sum / static_cast<float>(dim) + eps);
    inv_rms[r] = inv;
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) y[i] = x[i] * inv * gain[i];
  }
}

void backward(float* dx, Write write, float* dgain, const float* dy, const float* x, const float* gain,
              const float* inv_rms, int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r, x += dim, dx += dim, dy += dim) {
    const float inv = inv_rms[r];
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < dim; ++i) dot += dy[i] * gain[i] * x[i];
    const float mean = dot * inv / static_cast<float>(dim);
    if (write == Write::Accumulate) {
#pragma omp simd
      for (int64_t i = 0; i < dim; ++i) {
        const float n = x[i] * inv;
        dx[i] += inv * (dy[i] * gain[i] - n * mean);
        dgain[i] += dy[i] * n;
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < dim; ++i) {
        const float n = x[i] * inv, d = dy[i];  // dx may be dy
        dx[i] = inv * (d * gain[i] - n * mean);
        dgain[i] += d * n;
      }
    }
  }
}

}  // namespace

const RmsNormLoops rmsnorm_loops{forward, backward};

}  // namespace memring::MEMRING_ISA
