// Passes over a row of logits, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/loops.h"

#include "kernels/common/simd_math.h"

namespace memring::MEMRING_ISA {
namespace {

// Sums of this many exponentials in fp32, sums of sums in double: the error does not grow with the vocabulary.
constexpr int64_t kBlock = 1024;

float largest_of(const float* x, int64_t count) {
  float largest = -__builtin_inff();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

LogSum log_sum(const float* logits, int64_t count) {
  const float largest = largest_of(logits, count);
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = count - begin < kBlock ? count : begin + kBlock;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += simd_exp(logits[i] - largest);
    total += sum;
  }
  return {largest, total};
}

LogSum exponentials(float* logits, int64_t count) {
  const float largest = largest_of(logits, count);
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = count - begin < kBlock ? count : begin + kBlock;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) {
      const float e = simd_exp(logits[i] - largest);
      logits[i] = e;
      sum += e;
    }
    total += sum;
  }
  return {largest, total};
}

void scale(float* x, float factor, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

TeacherSum teach(float* teacher, const float* student, int64_t count) {
  const float largest = largest_of(teacher, count);
  double total = 0, gap = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = count - begin < kBlock ? count : begin + kBlock;
    float sum = 0, of_block = 0;
#pragma omp simd reduction(+ : sum, of_block)
    for (int64_t i = begin; i < end; ++i) {
      const float e = simd_exp(teacher[i] - largest);
      of_block += e * (teacher[i] - student[i]);
      teacher[i] = e;
      sum += e;
    }
    total += sum;
    gap += of_block;
  }
  return {{largest, total}, gap};
}

void subtract(float* x, const float* y, float factor, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] -= factor * y[i];
}

}  // namespace

const CrossEntropyLoops cross_entropy_loops{log_sum, exponentials, scale, teach, subtract};

}  // namespace memring::MEMRING_ISA
