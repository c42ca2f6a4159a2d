// Products and sums over the rows of a cell. Under run.deterministic = strict (queue.block() > 0) they are made block
// by block, so that no bit depends on which other rows are here, or on threads. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/common/gemm.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {

/// f(begin, count) for the parts of [0, rows) that canonical blocks cut; row 0 is row `first` of its numbering. All
/// rows at once where there are no blocks.
template <class F>
void for_row_blocks(const Queue& queue, int64_t rows, int64_t first, const F& f) {
  const int64_t block = queue.block() > 0 ? queue.block() : first + rows;
  for (int64_t begin = 0, count = 0; begin < rows; begin += count) {
    count = std::min(block - (first + begin) % block, rows - begin);
    f(begin, count);
  }
}

/// f(terms, begin, count) adds what rows [begin, begin + count) give to `terms`, which are the sums themselves or,
/// where those are exact, zeros for each block.
template <class T, class F>
void add_rows(Queue& queue, View<> sums, int64_t rows, int64_t first, const F& f) {
  if (sums.dtype() != DType::Exact) return f(sums.as<T>(), int64_t{0}, rows);
  std::vector<T> terms(static_cast<size_t>(sums.size()));
  for_row_blocks(queue, rows, first, [&](int64_t begin, int64_t count) {
    std::fill(terms.begin(), terms.end(), T(0));
    f(terms.data(), begin, count);
    ExactSum::add(queue, sums, View<T>(terms.data(), sums.shape()));
  });
}

/// C [rows, n] = (+=) A [rows, k] op(B), op(B) [k, n]; A and C dense, rows of B ldb apart as it is stored.
void row_product(const Queue&, Transpose b, int64_t rows, int64_t n, int64_t k, const float* A, const float* B,
                 int64_t ldb, Write write, float* C, int64_t first = 0);

/// C [m, n] = (+=) Aᵀ B over rows: A [rows, m], B [rows, n], all dense. C is fp32, or exact sums (then accumulated)
/// with one term for each block.
void sum_row_products(Queue&, int64_t m, int64_t n, int64_t rows, const float* A, const float* B, Write write, View<> C,
                      int64_t first = 0);

}  // namespace memring
