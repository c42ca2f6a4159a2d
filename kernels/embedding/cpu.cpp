// Token embedding: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/ref.h"
#include "kernels/exact_sum/exact_sum.h"
#include "kernels/exact_sum/loops.h"

namespace memring {
namespace {

/// Checks `rows_view` [rows, dim], `table` [vocab, dim], ids [rows] and every id.
void expect_operands(ConstView<> rows_view, ConstView<> table, ConstView<int32_t> ids, const char* rows_name,
                     const char* table_name) {
  const DType dtype = expect_float(rows_view, 2, rows_name);
  const Shape shape{table.dim(0), rows_view.dim(1)};
  expect_shape(ids, {ids.size()}, "Embedding ids");
  expect_shape(rows_view, {ids.size(), rows_view.dim(1)}, rows_name);
  expect_sums(table, dtype, shape, table_name);
  expect_ids(ids, table.dim(0), /*ignored=*/std::nullopt, "token");
}

}  // namespace

void Embedding::forward(Queue& queue, View<> y, ConstView<> table, ConstView<int32_t> ids) {
  expect_operands(y, table, ids, "Embedding y", "Embedding table");
  const int64_t rows = ids.size(), dim = table.dim(1);
  const Timed timed(queue, "Embedding forward", 0, y, y);
  if (queue.reference(y.dtype()))
    return by_float_type(
        y.dtype(), [&]<class T>() { reference::embedding_forward(y.as<T>(), table.as<T>(), ids.data(), rows, dim); });
  float* const to = y.as<float>();
  const float* const from = table.as<float>();
  parallel_ranges(threads_for(queue, rows * dim), rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) std::copy_n(from + ids.data()[r] * dim, dim, to + r * dim);
  });
}

void Embedding::backward(Queue& queue, View<> d_table, ConstView<> dy, ConstView<int32_t> ids) {
  expect_operands(dy, d_table, ids, "Embedding dy", "Embedding d_table");
  const int64_t rows = ids.size(), dim = d_table.dim(1);
  const Timed timed(queue, "Embedding backward", 0, dy, dy);
  if (queue.reference(dy.dtype()))
    return by_float_type(dy.dtype(), [&]<class T>() {
      if (d_table.dtype() != DType::Exact)
        return reference::embedding_backward(d_table.as<T>(), dy.as<T>(), ids.data(), rows, dim);
      for (int64_t r = 0; r < rows; ++r) ExactSum::add(queue, d_table.at(ids.data()[r]), dy.at(r));
    });
  // Threads share the columns, not the rows: several rows may have the same id, and their order must not change.
  constexpr int64_t kLine = 16;  // floats of a cache line
  const float* const from = dy.as<float>();
  if (d_table.dtype() == DType::Exact) {
    const ExactSumLoops& loops = MEMRING_LOOPS(queue, exact_sum_loops);
    return parallel_ranges(
        threads_for(queue, rows * dim), (dim + kLine - 1) / kLine, [&](int64_t begin, int64_t end, int) {
          const int64_t first = begin * kLine, count = std::min(end * kLine, dim) - first;
          for (int64_t r = 0; r < rows; ++r)
            loops.add(&d_table.as<Exact>()[ids.data()[r] * dim + first].high, from + r * dim + first, count);
        });
  }
  float* const to = d_table.as<float>();
  parallel_ranges(threads_for(queue, rows * dim), (dim + kLine - 1) / kLine, [&](int64_t begin, int64_t end, int) {
    const int64_t first = begin * kLine, last = std::min(end * kLine, dim);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = first; i < last; ++i) to[ids.data()[r] * dim + i] += from[r * dim + i];
  });
}

}  // namespace memring
