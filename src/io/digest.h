// Digests: XXH3-64, for noticing damage (not for security). Stored as numbers or as 16 hexadecimal digits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/handle.h"

struct XXH3_state_s;

namespace memring {

uint64_t digest_of(std::span<const std::byte> bytes);
std::string digest_text(uint64_t digest);  ///< "0123456789abcdef", most significant digit first

/// The same digest, fed piece by piece.
class Digest {
 public:
  Digest();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  uint64_t value() const;  ///< of everything added so far
  std::string text() const { return digest_text(value()); }

 private:
  struct Traits {
    using Value = XXH3_state_s*;
    static Value none() { return nullptr; }
    static void close(Value) noexcept;
  };
  Handle<Traits> state_;
};

}  // namespace memring
