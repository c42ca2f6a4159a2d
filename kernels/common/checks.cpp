// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/checks.h"

#include "base/error.h"

namespace memring {

DType expect_float(ConstView<> view, int rank, const char* what) {
  if ((view.dtype() != DType::F32 && view.dtype() != DType::F64) || view.shape().rank() != rank)
    throw ShapeError(fmt::format("{}: expected fp32 or fp64 of rank {}, found {}", what, rank, view.text()));
  return view.dtype();
}

DType expect_stored(ConstView<> view, int rank, const char* what) {
  if (view.dtype() == DType::BF16 && view.shape().rank() == rank) return DType::BF16;
  return expect_float(view, rank, what);
}

void expect_stored_or_sums(ConstView<> view, DType stored, Shape shape, const char* what) {
  expect(view, view.dtype() == sums_type(stored) ? sums_type(stored) : stored, shape, what);
}

void expect_sums(ConstView<> view, DType stored, Shape shape, const char* what) {
  expect(view, view.dtype() == DType::Exact ? DType::Exact : sums_type(stored), shape, what);
}

void expect_ids(const TokenIds& ids, int64_t rows, int64_t vocab, std::optional<int32_t> ignored, const char* what) {
  expect_shape(ids.ids, {rows}, what);
  if (std::ssize(ids.host) != rows)
    throw ShapeError(fmt::format("{}: the host has {} ids of {} rows", what, ids.host.size(), rows));
  for (size_t r = 0; r < ids.host.size(); ++r) {
    const int32_t id = ids.host[r];
    if ((id < 0 || id >= vocab) && id != ignored)
      throw Error(ExitCode::Data,
                  fmt::format("{} {} at row {} is outside the model's vocabulary (vocab = {})", what, id, r, vocab),
                  "Set model.vocab to the vocabulary of the tokenizer that packed the data, or pack the data again.");
  }
}

void expect_where(const Queue& queue, const RowTable& rows, const char* what) {
  if (queue.device() && rows.size() > 0 && !rows.device())
    throw ShapeError(fmt::format("{}: a table of {} rows is not on the device", what, rows.size()));
}

}  // namespace memring
