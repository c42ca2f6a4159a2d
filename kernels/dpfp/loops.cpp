// Feature map, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/loops.h"

namespace memring::MEMRING_ISA {
namespace {

void halves(float* u, const float* x, int64_t key_dim) {
#pragma omp simd
  for (int64_t i = 0; i < key_dim; ++i) {
    u[i] = x[i] > 0 ? x[i] : 0.0f;
    u[i + key_dim] = x[i] < 0 ? -x[i] : 0.0f;
  }
}

// Each block is done in two runs, so that no index wraps round inside a loop.
void forward(float* phi, const float* x, float* u, int64_t key_dim, int64_t nu) {
  const int64_t width = 2 * key_dim;
  halves(u, x, key_dim);
  for (int64_t j = 1; j <= nu; ++j, phi += width) {
    const int64_t shift = j % width;
#pragma omp simd
    for (int64_t i = 0; i < shift; ++i) phi[i] = u[i] * u[i + width - shift];
#pragma omp simd
    for (int64_t i = shift; i < width; ++i) phi[i] = u[i] * u[i - shift];
  }
}

void backward(float* dx, const float* d_phi, const float* x, float* u, int64_t key_dim, int64_t nu) {
  const int64_t width = 2 * key_dim;
  float* const du = u + width;
  halves(u, x, key_dim);
  for (int64_t i = 0; i < width; ++i) du[i] = 0;
  for (int64_t j = 1; j <= nu; ++j, d_phi += width) {
    const int64_t shift = j % width, rest = width - shift;
#pragma omp simd
    for (int64_t i = 0; i < shift; ++i) du[i] += d_phi[i] * u[i + rest];
#pragma omp simd
    for (int64_t i = shift; i < width; ++i) du[i] += d_phi[i] * u[i - shift];
#pragma omp simd
    for (int64_t i = 0; i < rest; ++i) du[i] += d_phi[i + shift] * u[i + shift];
#pragma omp simd
    for (int64_t i = rest; i < width; ++i) du[i] += d_phi[i - rest] * u[i - rest];
  }
#pragma omp simd
  for (int64_t i = 0; i < key_dim; ++i) {
    const float positive = x[i] > 0 ? du[i] : 0.0f;
    dx[i] = x[i] < 0 ? -du[i + key_dim] : positive;
  }
}

}  // namespace

const DpfpLoops dpfp_loops{forward, backward};

}  // namespace memring::MEMRING_ISA
