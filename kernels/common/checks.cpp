// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/checks.h"

namespace memring {

DType expect_float(ConstView<> view, int rank, const char* what) {
  if ((view.dtype() != DType::F32 && view.dtype() != DType::F64) || view.shape().rank() != rank)
    throw ShapeError(fmt::format("{}: expected fp32 or fp64 of rank {}, found {}", what, rank, view.text()));
  return view.dtype();
}

void expect_sums(ConstView<> view, DType dtype, Shape shape, const char* what) {
  expect(view, view.dtype() == DType::Exact ? DType::Exact : dtype, shape, what);
}

void expect_ids(std::span<const int32_t> ids, int64_t vocab, std::optional<int32_t> ignored, const char* what) {
  for (size_t r = 0; r < ids.size(); ++r) {
    const int32_t id = ids[r];
    if ((id < 0 || id >= vocab) && id != ignored)
      throw Error(ExitCode::Data,
                  fmt::format("{} {} at row {} is outside the model's vocabulary (vocab = {})", what, id, r, vocab),
                  "Set model.vocab to the vocabulary of the tokenizer that packed the data, or pack the data again.");
  }
}

}  // namespace memring
