// Moving rows: checks, and the reference's loops on several threads: memory is the limit, wider instructions gain
// nothing.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rows.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/wide.h"
#include "kernels/exact_sum/exact_sum.h"
#include "kernels/rows/cuda.h"
#include "kernels/rows/ref.h"

namespace memring {
namespace {

void expect_rows(std::span<const int32_t> rows, int64_t count, const char* what) {
  for (const int32_t row : rows)
    if (row < 0 || row >= count) throw ShapeError(fmt::format("MoveRows: {} row {} of {}", what, row, count));
}

/// The sequences; `to` or `from` may be one for all of them.
int64_t batch_of(ConstView<> to, std::span<const int32_t> to_rows, ConstView<> from,
                 std::span<const int32_t> from_rows) {
  const DType dtype = expect_stored(from, from.shape().rank() == 2 ? 2 : 3, "MoveRows from");
  const int64_t batch = to.shape().rank() == 3 ? to.dim(0) : from.dim(0), dim = to.dim(to.shape().rank() - 1);
  const auto shape = [&](ConstView<> view) {
    return view.shape().rank() == 3 ? Shape{batch, view.dim(1), dim} : Shape{view.dim(0), dim};
  };
  if (to.dtype() == DType::BF16)  // converts between stored types
    expect(to, dtype == DType::F32 ? DType::BF16 : dtype, shape(to), "MoveRows to");
  else
    expect_sums(to, dtype, shape(to), "MoveRows to");
  expect(from, dtype, shape(from), "MoveRows from");
  if (to_rows.size() != from_rows.size())
    throw ShapeError(fmt::format("MoveRows: {} rows to {}", from_rows.size(), to_rows.size()));
  expect_rows(to_rows, to.dim(to.shape().rank() - 2), "to");
  expect_rows(from_rows, from.dim(from.shape().rank() - 2), "from");
  return batch;
}

}  // namespace

std::vector<int32_t> ascending(size_t count) {
  std::vector<int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

void MoveRows::run(Queue& queue, View<> to, std::span<const int32_t> to_rows, Write write, ConstView<> from,
                   std::span<const int32_t> from_rows) {
  const bool exact = to.dtype() == DType::Exact;
  if ((exact && write != Write::Accumulate) || to.shape().rank() != 3 || from.shape().rank() < 2 ||
      from.shape().rank() > 3)
    throw ShapeError(fmt::format("MoveRows: from {} to {}", from.text(), to.text()));
  const int64_t batch = batch_of(to, to_rows, from, from_rows), dim = to.dim(2);
  if (!queue.device() && either_bf16(to, from)) return wide<&MoveRows::run>(queue, to, to_rows, write, from, from_rows);
  const Timed timed(queue, "MoveRows", 0, to, from);
  if (queue.device()) return rows_cuda->run(queue, to, to_rows, write, from, from_rows);
  if (exact) {
    for (int64_t b = 0; b < batch; ++b)
      for (size_t i = 0; i < to_rows.size(); ++i)
        ExactSum::add(queue, to.at(b).at(to_rows[i]), (from.shape().rank() == 3 ? from.at(b) : from).at(from_rows[i]));
    return;
  }
  const int64_t step = to.dim(1) * dim, from_step = from.shape().rank() == 3 ? from.dim(1) * dim : 0;
  by_float_type(to.dtype(), [&]<class T>() {
    T* const y = to.as<T>();
    const T* const x = from.as<T>();
    parallel_for(threads_for(queue, batch * std::ssize(to_rows) * dim), batch, [&](int64_t b) {
      reference::move_rows(y + b * step, to_rows, write, x + b * from_step, from_rows, {0, dim, dim});
    });
  });
}

void MoveRows::sum(Queue& queue, View<> to, std::span<const int32_t> to_rows, ConstView<> from,
                   std::span<const int32_t> from_rows) {
  if (!to) return;
  if (to.shape().rank() != 2 || from.shape().rank() != 3)
    throw ShapeError(fmt::format("MoveRows: from {} to the sum {}", from.text(), to.text()));
  const int64_t batch = batch_of(to, to_rows, from, from_rows), dim = to.dim(1);
  if (!queue.device() && from.dtype() == DType::BF16) return wide<&MoveRows::sum>(queue, to, to_rows, from, from_rows);
  const Timed timed(queue, "MoveRows sum", 0, to, from);
  if (queue.device()) return rows_cuda->sum(queue, to, to_rows, from, from_rows);
  if (to.dtype() == DType::Exact) {
    for (int64_t b = 0; b < batch; ++b)
      for (size_t i = 0; i < to_rows.size(); ++i) ExactSum::add(queue, to.at(to_rows[i]), from.at(b).at(from_rows[i]));
    return;
  }
  constexpr int64_t kLine = 16;  // floats of a cache line: threads share the columns, so that rows keep their order
  by_float_type(to.dtype(), [&]<class T>() {
    T* const y = to.as<T>();
    const T* const x = from.as<T>();
    parallel_ranges(threads_for(queue, batch * std::ssize(to_rows) * dim), (dim + kLine - 1) / kLine,
                    [&](int64_t begin, int64_t end, int) {
                      for (int64_t b = 0; b < batch; ++b)
                        reference::move_rows(y, to_rows, Write::Accumulate, x + b * from.dim(1) * dim, from_rows,
                                             {begin * kLine, std::min(end * kLine, dim), dim});
                    });
  });
}

}  // namespace memring
