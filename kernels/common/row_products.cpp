// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/row_products.h"

#include "kernels/common/dispatch.h"
#include "kernels/common/product_copies.h"
#include "kernels/exact_sum/loops.h"

namespace memring {
namespace {

// oneDNN's order of sums depends on shape and threads. So each product here has one thread, and a shape that follows
// from that of the weights and the block alone; threads share the products.
constexpr int64_t kColumns = 256;  // of a product
constexpr int64_t kHeight = 64;    // of a part of a sum: stays in the cache between its product and its exact sum

Queue one_thread(const Queue& queue) {
  Queue::Options options = queue.options();
  options.threads = 1;
  return Queue(options);
}

int64_t parts_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

}  // namespace

int64_t exact_terms_bytes(DType dtype, int64_t rows, int64_t columns, int threads) {
  return dtype == DType::F64 ? rows * columns * bytes_of(dtype)
                             : threads * std::min(rows, kHeight) * columns * bytes_of(dtype);
}

void row_product(const Queue& queue, Transpose b, int64_t rows, int64_t n, int64_t k, const float* A, const float* B,
                 int64_t ldb, Write write, float* C, int64_t first) {
  if (queue.block() == 0) return gemm(queue, Transpose::No, b, rows, n, k, A, k, B, ldb, write, C, n);
  const Queue one = one_thread(queue);
  std::vector<std::pair<int64_t, int64_t>> blocks;
  for_row_blocks(queue, rows, first, [&](int64_t begin, int64_t count) { blocks.emplace_back(begin, count); });
  const int64_t columns = parts_of(n, kColumns);
  parallel_tasks(queue, threads_for(queue, rows * n), std::ssize(blocks) * columns, [&](int64_t task, const auto&) {
    const auto [begin, count] = blocks[static_cast<size_t>(task / columns)];
    const int64_t column = task % columns * kColumns;
    gemm(one, Transpose::No, b, count, std::min(kColumns, n - column), k, A + begin * k, k,
         B + column * (b == Transpose::Yes ? ldb : 1), ldb, write, C + begin * n + column, n);
  });
}

void sum_row_products(Queue& queue, int64_t m, int64_t n, int64_t rows, const float* A, const float* B, Write write,
                      View<> C, int64_t first) {
  if (queue.block() == 0)
    return gemm(queue, Transpose::Yes, Transpose::No, m, n, rows, A, m, B, n, write, C.as<float>(), n);
  const Queue one = one_thread(queue);
  const ExactSumLoops& loops = MEMRING_LOOPS(queue, exact_sum_loops);
  parallel_tasks(queue, threads_for(queue, m * n), parts_of(m, kHeight), [&](int64_t part, const auto&) {
    const int64_t top = part * kHeight, count = std::min(kHeight, m - top);
    if (C.dtype() != DType::Exact)
      return gemm(one, Transpose::Yes, Transpose::No, count, n, rows, A + top, m, B, n, write, C.as<float>() + top * n,
                  n);
    thread_local std::vector<float> terms;
    terms.resize(static_cast<size_t>(count * n));
    for_row_blocks(queue, rows, first, [&](int64_t begin, int64_t block_rows) {
      gemm(one, Transpose::Yes, Transpose::No, count, n, block_rows, A + begin * m + top, m, B + begin * n, n,
           Write::Overwrite, terms.data(), n);
      loops.add(&C.as<Exact>()[top * n].high, terms.data(), count * n);
    });
  });
}

}  // namespace memring
