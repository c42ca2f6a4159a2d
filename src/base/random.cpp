// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace memring {

std::array<uint32_t, 4> philox(uint64_t key, std::array<uint32_t, 4> counter) {
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0], p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

Random::Random(uint64_t seed, Purpose purpose, uint64_t step, uint32_t sample)
    : key_(seed ^ (uint64_t{static_cast<uint32_t>(purpose)} << 56)), step_(step), sample_(sample) {}

uint64_t Random::bits(uint32_t position) const {
  const auto words =
      philox(key_, {position, sample_, static_cast<uint32_t>(step_), static_cast<uint32_t>(step_ >> 32)});
  return uint64_t{words[0]} | uint64_t{words[1]} << 32;
}

double Random::uniform(uint32_t position) const { return static_cast<double>(bits(position) >> 11) * 0x1p-53; }

double Random::normal(uint32_t position) const {
  const auto words =
      philox(key_, {position, sample_, static_cast<uint32_t>(step_), static_cast<uint32_t>(step_ >> 32)});
  const double u = (static_cast<double>(words[2]) + 0.5) * 0x1p-32, v = static_cast<double>(words[3]) * 0x1p-32;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

uint64_t Random::below(uint32_t position, uint64_t bound) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(bits(position)) * bound) >> 64);
}

uint64_t permuted(uint64_t index, uint64_t count, uint64_t seed, uint64_t epoch) {
  const int half = (std::bit_width(count > 1 ? count - 1 : 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = index >> half, right = index & mask;
    for (uint32_t round = 0; round < 6; ++round) {
      const auto words = philox(seed, {static_cast<uint32_t>(right), static_cast<uint32_t>(right >> 32) ^ round << 24,
                                       static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32) ^ 0x5eed});
      const uint64_t mixed = left ^ ((uint64_t{words[0]} | uint64_t{words[1]} << 32) & mask);
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

}  // namespace memring
