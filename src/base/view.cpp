// SPDX-License-Identifier: Apache-2.0
#include "base/view.h"

#include <fmt/ranges.h>

#include "base/error.h"

namespace memring {

void refuse_view(const std::string& message) { throw ShapeError(message); }

int64_t bytes_of(DType dtype) {
  switch (dtype) {
    case DType::Exact:
      return 16;
    case DType::F64:
    case DType::I64:
      return 8;
    case DType::F32:
    case DType::I32:
      return 4;
    case DType::BF16:
      return 2;
    case DType::U8:
      return 1;
  }
  return 0;
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return "fp32";
    case DType::F64:
      return "fp64";
    case DType::I32:
      return "int32";
    case DType::I64:
      return "int64";
    case DType::U8:
      return "uint8";
    case DType::Exact:
      return "exact";
    case DType::BF16:
      return "bf16";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> extents)
    : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (rank_ > kMaxRank) throw ShapeError(fmt::format("{} extents; at most {} are supported", rank_, kMaxRank));
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] < 0) throw ShapeError(fmt::format("extent {} is negative", extents[i]));
    extents_[i] = extents[i];
  }
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int64_t extent : extents()) product *= extent;
  return product;
}

std::string Shape::text() const { return fmt::format("[{}]", fmt::join(extents(), ", ")); }

void expect_shape(ConstView<> view, Shape shape, const char* what) {
  if (!(view.shape() == shape))
    throw ShapeError(fmt::format("{}: expected {}, found {}", what, shape.text(), view.text()));
}

void expect(ConstView<> view, DType dtype, Shape shape, const char* what) {
  if (view.dtype() != dtype || !(view.shape() == shape))
    throw ShapeError(fmt::format("{}: expected {}{}, found {}", what, name_of(dtype), shape.text(), view.text()));
}

}  // namespace memring
