// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/gemm.h"

#include <dnnl.h>

#include <algorithm>
#include <new>
#include <vector>

#include "base/error.h"
#include "kernels/common/bf16.h"
#include "kernels/common/bf16_matmul.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/product_copies.h"

#ifndef MEMRING_STD_THREADS
#include <omp.h>
#endif

namespace memring {
namespace {

/// oneDNN takes its thread count from OpenMP; inside a parallel region it stays on the caller's thread.
void give_threads_to_onednn([[maybe_unused]] const Queue& queue) {
#ifndef MEMRING_STD_THREADS
  if (!omp_in_parallel() && omp_get_max_threads() != queue.threads()) omp_set_num_threads(queue.threads());
#endif
}

void sgemm(Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const float* A, int64_t lda, const float* B,
           int64_t ldb, Write write, float* C, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(a == Transpose::Yes ? 'T' : 'N', b == Transpose::Yes ? 'T' : 'N', m, n, k,
                                          1.0f, A, lda, B, ldb, write == Write::Accumulate ? 1.0f : 0.0f, C, ldc);
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success)
    throw Error(ExitCode::Internal,
                fmt::format("oneDNN's product of [{}, {}] and [{}, {}] failed with status {}", m, k, k, n,
                            static_cast<int>(status)),
                "This is a bug in memring; please report it.");
}

/// The memory of a thread's copies, which serves all its products.
template <class T>
struct Copies {
  std::vector<T> left, right;

  static Copies& here() {
    thread_local Copies copies;
    return copies;
  }
  ProductCopies sizes() const { return {std::ssize(left), std::ssize(right)}; }
  void grow(const ProductCopies& wanted) {
    const ProductCopies most = sizes() | wanted;
    left.resize(static_cast<size_t>(most.left));
    right.resize(static_cast<size_t>(most.right));
  }
};

/// f(Copies) of the type that bf16 products take their operands in.
template <class F>
auto with_copies(const F& f) {
  return bf16_matmul_is_fast() ? f(Copies<uint16_t>::here()) : f(Copies<float>::here());
}

/// A dense, rounded copy of a matrix.
template <class T>
const T* rounded(const Queue& queue, T* copy, const float* x, int64_t rows, int64_t cols, int64_t ld) {
  const Bf16Loops& loops = MEMRING_LOOPS(queue, bf16_loops);
  parallel_ranges(threads_for(queue, rows * cols), rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      if constexpr (std::is_same_v<T, float>)
        loops.to_float(copy + r * cols, x + r * ld, cols);
      else
        loops.to_bf16(copy + r * cols, x + r * ld, cols);
    }
  });
  return copy;
}

}  // namespace

void gemm(const Queue& queue, Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const float* A, int64_t lda,
          const float* B, int64_t ldb, Write write, float* C, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (write == Write::Overwrite)
      for (int64_t i = 0; i < m; ++i) std::fill_n(C + i * ldc, n, 0.0f);
    return;
  }
  give_threads_to_onednn(queue);
  if (queue.products() == Products::F32) return sgemm(a, b, m, n, k, A, lda, B, ldb, write, C, ldc);

  const int64_t a_rows = a == Transpose::Yes ? k : m, a_cols = a == Transpose::Yes ? m : k;
  const int64_t b_rows = b == Transpose::Yes ? n : k, b_cols = b == Transpose::Yes ? k : n;
  with_copies([&]<class T>(Copies<T>& copies) {
    copies.grow(ProductCopies::of(m, n, k));
    const T* const left = rounded(queue, copies.left.data(), A, a_rows, a_cols, lda);
    const T* const right = rounded(queue, copies.right.data(), B, b_rows, b_cols, ldb);
    if constexpr (std::is_same_v<T, float>)
      sgemm(a, b, m, n, k, left, a_cols, right, b_cols, write, C, ldc);
    else
      bf16_matmul(a, b, m, n, k, left, right, write, C, ldc);
  });
}

int64_t ProductCopies::bytes(Products products, int threads) const {
  const int64_t all = (left + right) * int64_t{sizeof(float)};
  // Measured with AVX2 and AVX-512: 7 to 8.5 MiB a thread for any large model, most of it gaps that the C library's
  // heap leaves between aligned blocks.
  constexpr int64_t kPackedBlocks = int64_t{8} << 20;
  return products == Products::F32 ? threads * std::min(all, kPackedBlocks) : all;
}

void reserve_product_copies(Products products, const ProductCopies& wanted) {
  if (products == Products::Bf16) with_copies([&](auto& copies) { copies.grow(wanted); });
}

ProductCopies product_copies(Products products) {
  if (products == Products::F32) return {};
  return with_copies([](const auto& copies) { return copies.sizes(); });
}

}  // namespace memring
