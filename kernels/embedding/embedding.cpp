// Token embedding: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/embedding.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/wide.h"
#include "kernels/embedding/cpu.h"
#include "kernels/embedding/cuda.h"
#include "kernels/embedding/ref.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {
namespace {

template <class T>
void reference_backward(Queue& queue, View<> d_table, ConstView<> dy, const int32_t* ids, int64_t rows, int64_t dim) {
  if (d_table.dtype() != DType::Exact)
    return reference::embedding_backward(d_table.as<T>(), dy.as<T>(), ids, rows, dim);
  for (int64_t r = 0; r < rows; ++r) ExactSum::add(queue, d_table.at(ids[r]), dy.at(r));
}

}  // namespace

void Embedding::forward(Queue& queue, View<> y, ConstView<> table, const TokenIds& ids) {
  const DType dtype = expect_stored(y, 2, "Embedding y");
  const int64_t rows = y.dim(0), dim = y.dim(1);
  expect(table, dtype, {table.dim(0), dim}, "Embedding table");
  expect_ids(ids, rows, table.dim(0), /*ignored=*/std::nullopt, "token");
  if (!queue.device() && dtype == DType::BF16) return wide<&Embedding::forward>(queue, y, table, ids);
  const Timed timed(queue, "Embedding forward", 0, y, y);
  if (queue.device()) return embedding_cuda->forward(queue, y, table, ids);
  if (queue.reference(dtype))
    return by_float_type(
        dtype, [&]<class T>() { reference::embedding_forward(y.as<T>(), table.as<T>(), ids.host.data(), rows, dim); });
  cpu::embedding_forward(queue, y.as<float>(), table.as<float>(), ids.host.data(), rows, dim);
}

void Embedding::backward(Queue& queue, View<> d_table, ConstView<> dy, const TokenIds& ids) {
  const DType dtype = expect_stored(dy, 2, "Embedding dy");
  if (!d_table) return;
  const int64_t rows = dy.dim(0), dim = dy.dim(1);
  expect_sums(d_table, dtype, {d_table.dim(0), dim}, "Embedding d_table");
  expect_ids(ids, rows, d_table.dim(0), /*ignored=*/std::nullopt, "token");
  if (!queue.device() && dtype == DType::BF16) return wide<&Embedding::backward>(queue, d_table, dy, ids);
  const Timed timed(queue, "Embedding backward", 0, dy, dy);
  if (queue.device()) return embedding_cuda->backward(queue, d_table, dy, ids);
  if (queue.reference(dtype))
    return by_float_type(dtype,
                         [&]<class T>() { reference_backward<T>(queue, d_table, dy, ids.host.data(), rows, dim); });
  cpu::embedding_backward(queue, d_table, dy.as<float>(), ids.host.data(), rows, dim);
}

}  // namespace memring
