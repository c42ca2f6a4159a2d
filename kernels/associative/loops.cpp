// Associative memory, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/loops.h"

namespace memring::MEMRING_ISA {
namespace {

float dot(const float* a, const float* b, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void scale(float* x, float factor, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

void add_scaled(float* y, float factor, const float* x, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

void subtract_and_scale(float* x, float along, const float* z, float factor, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = (x[i] - along * z[i]) * factor;
}

void weigh(float* num, const float* v, float inv_den, float beta, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) num[i] = beta * (v[i] - num[i] * inv_den);
}

}  // namespace

const AssociativeLoops associative_loops{dot, scale, add_scaled, subtract_and_scale, weigh};

}  // namespace memring::MEMRING_ISA
