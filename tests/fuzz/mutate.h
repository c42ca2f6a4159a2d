// Damage by chance: what disks, copies and hands do to a file. The same seed gives the same damage everywhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace memring::test {

using Chance = std::mt19937_64;

/// A number below `end` (which is positive); not std::uniform_int_distribution, which differs between libraries.
inline size_t below(Chance& chance, size_t end) { return static_cast<size_t>(chance() % end); }

/// One change: a bit or a byte, a number of 1, 2, 4 or 8 bytes, a piece left out, doubled or put elsewhere, a shorter
/// end.
inline void mutate_once(std::string& bytes, Chance& chance) {
  if (bytes.empty()) bytes.assign(1, '\0');
  const size_t at = below(chance, bytes.size()), most = bytes.size() - at;
  const size_t count = 1 + below(chance, most < 32 ? most : 32);
  switch (below(chance, 9)) {
    case 0:
    case 1:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(chance, 8)));
      break;
    case 2:
      bytes[at] = static_cast<char>(chance());
      break;
    case 3:
    case 4: {  // what numbers are most often wrong: nothing, everything, the largest of a type, one more or less
      constexpr uint64_t kNumbers[] = {0, 1, 2, 127, 255, 65535, 1u << 31, ~0ULL >> 33, ~0ULL >> 1, ~0ULL, ~0ULL << 63};
      const uint64_t number = kNumbers[below(chance, std::size(kNumbers))];
      const size_t width = size_t{1} << below(chance, 4);
      for (size_t i = 0; i < width && at + i < bytes.size(); ++i) bytes[at + i] = static_cast<char>(number >> (8 * i));
      break;
    }
    case 5:
      bytes.erase(at, count);
      break;
    case 6:
      bytes.insert(at, bytes.substr(at, count));
      break;
    case 7:
      bytes.insert(below(chance, bytes.size() + 1), bytes.substr(at, count));
      break;
    default:
      if (below(chance, 8) == 0) bytes.resize(at);  // rarely: little is left to be read
      break;
  }
}

/// One to eight changes.
inline std::string mutated(std::string bytes, Chance& chance) {
  for (size_t left = size_t{1} << below(chance, 4); left > 0; --left) mutate_once(bytes, chance);
  return bytes;
}

}  // namespace memring::test
