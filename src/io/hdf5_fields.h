// The small parts of an HDF5 file's structure: fields, the type of an element, a shape (for hdf5_structure.cpp).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/hdf5.h"

namespace memring {

/// Throws Error(Data).
[[noreturn]] void damaged(const std::string& finding);

/// Little-endian fields, one after the other; what reaches beyond the bytes is damage.
class Fields {
 public:
  using Bytes = std::span<const std::byte>;
  explicit Fields(Bytes bytes) : rest_(bytes) {}
  Bytes bytes(uint64_t count);
  uint64_t number(size_t width);
  std::string_view text(uint64_t count);
  void skip(uint64_t count) { bytes(count); }
  void expect(std::string_view signature, uint64_t version);

 private:
  Bytes rest_;
};

/// How one element is stored.
struct Hdf5Element {
  Hdf5Type type = Hdf5Type::Other;
  bool text = false, elsewhere = false;  ///< elsewhere: of any length, in a heap
  uint64_t bytes = 0;
};

Hdf5Element read_element(Fields);
/// nullopt: more extents than a Shape has, or no element at all, not even a scalar.
std::optional<Shape> read_shape(Fields);

}  // namespace memring
