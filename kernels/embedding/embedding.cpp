// Token embedding: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/embedding/cpu.h"
#include "kernels/embedding/ref.h"
#include "kernels/exact_sum/exact_sum.h"

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

template <class T>
void reference_backward(Queue& queue, View<> d_table, ConstView<> dy, const int32_t* ids, int64_t rows, int64_t dim) {
  if (d_table.dtype() != DType::Exact)
    return reference::embedding_backward(d_table.as<T>(), dy.as<T>(), ids, rows, dim);
  for (int64_t r = 0; r < rows; ++r) ExactSum::add(queue, d_table.at(ids[r]), dy.at(r));
}

}  // namespace

void Embedding::forward(Queue& queue, View<> y, ConstView<> table, ConstView<int32_t> ids) {
  expect_operands(y, table, ids, "Embedding y", "Embedding table");
  const int64_t rows = ids.size(), dim = table.dim(1);
  const Timed timed(queue, "Embedding forward", 0, y, y);
  if (queue.reference(y.dtype()))
    return by_float_type(
        y.dtype(), [&]<class T>() { reference::embedding_forward(y.as<T>(), table.as<T>(), ids.data(), rows, dim); });
  cpu::embedding_forward(queue, y.as<float>(), table.as<float>(), ids.data(), rows, dim);
}

void Embedding::backward(Queue& queue, View<> d_table, ConstView<> dy, ConstView<int32_t> ids) {
  expect_operands(dy, d_table, ids, "Embedding dy", "Embedding d_table");
  const int64_t rows = ids.size(), dim = d_table.dim(1);
  const Timed timed(queue, "Embedding backward", 0, dy, dy);
  if (queue.reference(dy.dtype()))
    return by_float_type(dy.dtype(),
                         [&]<class T>() { reference_backward<T>(queue, d_table, dy, ids.data(), rows, dim); });
  cpu::embedding_backward(queue, d_table, dy.as<float>(), ids.data(), rows, dim);
}

}  // namespace memring
