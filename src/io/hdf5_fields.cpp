// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_fields.h"

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace memring {
namespace {

Hdf5Type integer_type(uint64_t bytes, bool with_sign) {
  switch (bytes) {
    case 1:
      return with_sign ? Hdf5Type::Other : Hdf5Type::U8;
    case 2:
      return with_sign ? Hdf5Type::Other : Hdf5Type::U16;
    case 4:
      return with_sign ? Hdf5Type::I32 : Hdf5Type::U32;
    case 8:
      return with_sign ? Hdf5Type::I64 : Hdf5Type::U64;
    default:
      return Hdf5Type::Other;
  }
}

}  // namespace

void damaged(const std::string& finding) { throw Error(ExitCode::Data, finding); }

Fields::Bytes Fields::bytes(uint64_t count) {
  if (count > rest_.size()) damaged("a part of its structure is shorter than it says");
  const Bytes part = rest_.first(static_cast<size_t>(count));
  rest_ = rest_.subspan(static_cast<size_t>(count));
  return part;
}

uint64_t Fields::number(size_t width) {
  uint64_t value = 0;
  std::memcpy(&value, bytes(width).data(), width);
  return value;
}

std::string_view Fields::text(uint64_t count) {
  const Bytes part = bytes(count);
  return {reinterpret_cast<const char*>(part.data()), part.size()};
}

void Fields::expect(std::string_view signature, uint64_t version) {
  if (text(signature.size()) != signature || number(1) != version)
    damaged(fmt::format("'{}' of version {} is not where the structure says", signature, version));
}

Hdf5Element read_element(Fields fields) {
  constexpr uint64_t kInteger = 0, kFloat = 1, kText = 3, kVariable = 9;
  constexpr uint64_t kBigEndian = 1, kSigned = 8;
  // Bits, then: first bit and width, place and width of exponent and mantissa, bias.
  constexpr std::string_view kF32("\x20\x1f\0\0\0\x20\0\x17\x08\0\x17\x7f\0\0\0", 15);
  constexpr std::string_view kF64("\x20\x3f\0\0\0\x40\0\x34\x0b\0\x34\xff\x03\0\0", 15);
  const uint64_t cls = fields.number(1) & 15;
  const std::string_view bit_text = fields.text(3);
  const uint64_t bits = Fields(std::as_bytes(std::span(bit_text))).number(3);
  Hdf5Element element;
  element.bytes = fields.number(4);
  if (cls == kInteger) {
    const uint64_t first_bit = fields.number(2), width = fields.number(2);
    if (!(bits & kBigEndian) && first_bit == 0 && width == 8 * element.bytes)
      element.type = integer_type(element.bytes, bits & kSigned);
  } else if (cls == kFloat) {
    const std::string layout = std::string(bit_text) + std::string(fields.text(12));
    if (layout == kF32 && element.bytes == 4) element.type = Hdf5Type::F32;
    if (layout == kF64 && element.bytes == 8) element.type = Hdf5Type::F64;
  } else {
    element.elsewhere = cls == kVariable && (bits & 15) == 1;
    element.text = cls == kText || element.elsewhere;
  }
  return element;
}

std::optional<Shape> read_shape(Fields fields) {
  const uint64_t version = fields.number(1), rank = fields.number(1);
  fields.skip(1);
  if (version == 1)
    fields.skip(5);
  else if (version != 2)
    damaged("it has a shape of an unknown version");
  else if (fields.number(1) == 2)
    return std::nullopt;
  if (rank > Shape::kMaxRank) return std::nullopt;
  std::array<int64_t, Shape::kMaxRank> extents{};
  int64_t elements = 1;
  for (size_t i = 0; i < rank; ++i) {
    const uint64_t extent = fields.number(8);
    extents[i] = static_cast<int64_t>(extent);
    if (extents[i] < 0 || __builtin_mul_overflow(elements, extents[i], &elements) ||
        elements > std::numeric_limits<int64_t>::max() / 8)
      damaged(fmt::format("it has an extent of {}", extent));
  }
  return Shape(std::span<const int64_t>(extents.data(), static_cast<size_t>(rank)));
}

}  // namespace memring
