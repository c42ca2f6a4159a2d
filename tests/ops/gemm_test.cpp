// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/gemm.h"
#include "base/error.h"

#include <dnnl.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/parallel.h"
#include "kernels/common/bf16.h"
#include "kernels/common/bf16_matmul.h"
#include "kernels/common/dispatch.h"
#include "op_test.h"

namespace memring::test {
namespace {

/// What gemm promises, by the definition, on stored matrices with the given distances between rows.
Tensor<double> product(Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const Tensor<float>& A, int64_t lda,
                       const Tensor<float>& B, int64_t ldb, Write write, const Tensor<float>& C, int64_t ldc) {
  Tensor<double> result(C);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = write == Write::Accumulate ? double(C[i * ldc + j]) : 0;
      for (int64_t l = 0; l < k; ++l)
        sum += double(A[a == Transpose::Yes ? l * lda + i : i * lda + l]) *
               double(B[b == Transpose::Yes ? j * ldb + l : l * ldb + j]);
      result[i * ldc + j] = sum;
    }
  return result;
}

/// Calls body(a, b, write, m, n, k) over transpositions, ways to write, and shapes.
template <class Body>
void for_products(const Body& body) {
  struct Extents {
    int64_t m, n, k;
  };
  for (const Extents& e :
       {Extents{1, 1, 1}, {5, 7, 3}, {16, 64, 32}, {33, 17, 129}, {3, 4, 0}, {0, 4, 3}, {150, 130, 70}})
    for (Transpose a : {Transpose::No, Transpose::Yes})
      for (Transpose b : {Transpose::No, Transpose::Yes})
        for (Write write : {Write::Overwrite, Write::Accumulate}) {
          SCOPED_TRACE(fmt::format("m {}, n {}, k {}, transposed {} {}, accumulate {}", e.m, e.n, e.k,
                                   a == Transpose::Yes, b == Transpose::Yes, write == Write::Accumulate));
          body(a, b, write, e.m, e.n, e.k);
        }
}

void expect_products(Products products, int64_t gap) {
  const bool bf16 = products == Products::Bf16;
  auto queues = fast_queues();
  for (auto& options : queues) options.products = products;
  for_products([&](Transpose a, Transpose b, Write write, int64_t m, int64_t n, int64_t k) {
    const bool at = a == Transpose::Yes, bt = b == Transpose::Yes;
    const int64_t lda = (at ? m : k) + gap, ldb = (bt ? k : n) + gap, ldc = n + gap;
    const auto A = random<float>({at ? k : m, lda}, 1), B = random<float>({bt ? n : k, ldb}, 2),
               C = random<float>({m, ldc}, 3);
    const auto expected =
        product(a, b, m, n, k, bf16 ? rounded_to_bf16(A) : A, lda, bf16 ? rounded_to_bf16(B) : B, ldb, write, C, ldc);
    on_queues(queues, [&](Queue& queue) {
      Tensor<float> found = C;  // also: what lies between the rows stays
      gemm(queue, a, b, m, n, k, A.data.data(), lda, B.data.data(), ldb, write, found.data.data(), ldc);
      expect_close(found, expected, 2e-6, "C");
    });
  });
}

TEST(Gemm, EqualsTheDefinition) {
  for (int64_t gap : {0, 3}) expect_products(Products::F32, gap);
}

TEST(Gemm, Bf16EqualsTheDefinitionOnRoundedOperands) {
  for (int64_t gap : {0, 3}) expect_products(Products::Bf16, gap);
}

TEST(Gemm, RunsInsideParallelBodies) {
  for (Products products : {Products::F32, Products::Bf16}) {
    if (fast_queues().empty()) GTEST_SKIP() << "oneDNN is not instrumented for ThreadSanitizer";
    Queue queue({.products = products, .threads = 3});
    constexpr int64_t kBodies = 12, kSize = 40;
    const auto A = random<float>({kBodies, kSize, kSize}, 1), B = random<float>({kBodies, kSize, kSize}, 2);
    Tensor<float> inside(A.shape), outside(A.shape);
    auto one = [&](Tensor<float>& C, int64_t i) {
      const int64_t at = i * kSize * kSize;
      gemm(queue, Transpose::No, Transpose::No, kSize, kSize, kSize, A.data.data() + at, kSize, B.data.data() + at,
           kSize, Write::Overwrite, C.data.data() + at, kSize);
    };
    for (int64_t i = 0; i < kBodies; ++i) one(outside, i);
    parallel_for(3, kBodies, [&](int64_t i) { one(inside, i); });
    expect_close(inside, Tensor<double>(outside), 1e-6, "C");
  }
}

TEST(Gemm, Bf16PrimitivesEqualTheDefinition) {
  constexpr unsigned kNeeded = dnnl_cpu_isa_avx512_core_bf16;
  if ((dnnl_get_effective_cpu_isa() & kNeeded) != kNeeded || fast_queues().empty())
    GTEST_SKIP() << "oneDNN has no bf16 instructions here and would refuse";
  for_products([](Transpose a, Transpose b, Write write, int64_t m, int64_t n, int64_t k) {
    if (m * n * k == 0) return;  // gemm handles these itself
    const bool at = a == Transpose::Yes, bt = b == Transpose::Yes;
    const int64_t lda = at ? m : k, ldb = bt ? k : n, ldc = n + 3;
    const auto A = random<float>({at ? k : m, lda}, 1), B = random<float>({bt ? n : k, ldb}, 2),
               C = random<float>({m, ldc}, 3);
    std::vector<uint16_t> a_bf16(A.data.size()), b_bf16(B.data.size());
    MEMRING_LOOPS(Queue(), bf16_loops).to_bf16(a_bf16.data(), A.data.data(), A.size());
    MEMRING_LOOPS(Queue(), bf16_loops).to_bf16(b_bf16.data(), B.data.data(), B.size());
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second one comes from the cache
      Tensor<float> found = C;
      bf16_matmul(a, b, m, n, k, a_bf16.data(), b_bf16.data(), write, found.data.data(), ldc);
      expect_close(found, product(a, b, m, n, k, rounded_to_bf16(A), lda, rounded_to_bf16(B), ldb, write, C, ldc), 2e-6,
                   "C");
    }
  });
}

TEST(Gemm, RoundsToTheNearestBf16AndToEvenOnTies) {
  auto x = random<float>({1000}, 1);
  const float ties[] = {1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f, -1.0f - 0x1p-8f, 0.0f, -0.0f, 1e-30f, 3e38f};
  std::copy(std::begin(ties), std::end(ties), x.data.begin());
  for (const Queue::Options& options : every_queue()) {
    const Bf16Loops& loops = MEMRING_LOOPS(Queue(options), bf16_loops);
    Tensor<float> as_float(x.shape), widened(x.shape);
    std::vector<uint16_t> as_bf16(x.data.size());
    loops.to_float(as_float.data.data(), x.data.data(), x.size());
    loops.to_bf16(as_bf16.data(), x.data.data(), x.size());
    for (size_t i = 0; i < as_bf16.size(); ++i)
      widened.data[i] = std::bit_cast<float>(static_cast<uint32_t>(as_bf16[i]) << 16);
    expect_same_bits(as_float, rounded_to_bf16(x), text(options));
    expect_same_bits(widened, rounded_to_bf16(x), text(options));
    const float nan = std::bit_cast<float>(0x7fffffffu);
    float rounded = 0;
    loops.to_float(&rounded, &nan, 1);
    EXPECT_TRUE(std::isnan(rounded)) << text(options);
  }
}

}  // namespace
}  // namespace memring::test
