// Token embedding: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/cpu.h"

#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/exact_sum/loops.h"

namespace memring::cpu {

void embedding_forward(const Queue& queue, float* y, const float* table, const int32_t* ids, int64_t rows,
                       int64_t dim) {
  parallel_ranges(threads_for(queue, rows * dim), rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) std::copy_n(table + ids[r] * dim, dim, y + r * dim);
  });
}

// Threads share the columns, not the rows: several rows may have the same id, and their order must not change.
void embedding_backward(const Queue& queue, View<> d_table, const float* dy, const int32_t* ids, int64_t rows,
                        int64_t dim) {
  constexpr int64_t kLine = 16;  // floats of a cache line
  if (d_table.dtype() == DType::Exact) {
    const ExactSumLoops& loops = MEMRING_LOOPS(queue, exact_sum_loops);
    return parallel_ranges(threads_for(queue, rows * dim), (dim + kLine - 1) / kLine,
                           [&](int64_t begin, int64_t end, int) {
                             const int64_t first = begin * kLine, count = std::min(end * kLine, dim) - first;
                             for (int64_t r = 0; r < rows; ++r)
                               loops.add(&d_table.as<Exact>()[ids[r] * dim + first].high, dy + r * dim + first, count);
                           });
  }
  float* const to = d_table.as<float>();
  parallel_ranges(threads_for(queue, rows * dim), (dim + kLine - 1) / kLine, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kLine, last = std::min(end * kLine, dim);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = first; i < last; ++i) to[ids[r] * dim + i] += dy[r * dim + i];
  });
}

}  // namespace memring::cpu
