// Token embedding: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/embedding/cpu.h"
#include "kernels/embedding/cuda.h"
#include "kernels/embedding/ref.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {
namespace {

/// Checks `rows_view` [rows, dim], `table` [vocab, dim], ids [rows] and every id.
void expect_operands(ConstView<> rows_view, ConstView<> table, const TokenIds& ids, const char* rows_name,
                     const char* table_name) {
  const DType dtype = expect_float(rows_view, 2, rows_name);
  const Shape shape{table.dim(0), rows_view.dim(1)};
  expect_shape(ids.ids, {std::ssize(ids.host)}, "Embedding ids");
  expect_shape(rows_view, {std::ssize(ids.host), rows_view.dim(1)}, rows_name);
  expect_sums(table, dtype, shape, table_name);
  expect_ids(ids.host, table.dim(0), /*ignored=*/std::nullopt, "token");
}

template <class T>
void reference_backward(Queue& queue, View<> d_table, ConstView<> dy, const int32_t* ids, int64_t rows, int64_t dim) {
  if (d_table.dtype() != DType::Exact)
    return reference::embedding_backward(d_table.as<T>(), dy.as<T>(), ids, rows, dim);
  for (int64_t r = 0; r < rows; ++r) ExactSum::add(queue, d_table.at(ids[r]), dy.at(r));
}

}  // namespace

void Embedding::forward(Queue& queue, View<> y, ConstView<> table, const TokenIds& ids) {
  expect_operands(y, table, ids, "Embedding y", "Embedding table");
  const int64_t rows = std::ssize(ids.host), dim = table.dim(1);
  const Timed timed(queue, "Embedding forward", 0, y, y);
  if (queue.device()) return embedding_cuda->forward(queue, y, table, ids);
  if (queue.reference(y.dtype()))
    return by_float_type(
        y.dtype(), [&]<class T>() { reference::embedding_forward(y.as<T>(), table.as<T>(), ids.host.data(), rows, dim); });
  cpu::embedding_forward(queue, y.as<float>(), table.as<float>(), ids.host.data(), rows, dim);
}

void Embedding::backward(Queue& queue, View<> d_table, ConstView<> dy, const TokenIds& ids) {
  expect_operands(dy, d_table, ids, "Embedding dy", "Embedding d_table");
  const int64_t rows = std::ssize(ids.host), dim = d_table.dim(1);
  const Timed timed(queue, "Embedding backward", 0, dy, dy);
  if (queue.device()) return embedding_cuda->backward(queue, d_table, dy, ids);
  if (queue.reference(dy.dtype()))
    return by_float_type(dy.dtype(),
                         [&]<class T>() { reference_backward<T>(queue, d_table, dy, ids.host.data(), rows, dim); });
  cpu::embedding_backward(queue, d_table, dy.as<float>(), ids.host.data(), rows, dim);
}

}  // namespace memring
