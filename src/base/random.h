// Counter-based random numbers (Philox4x32-10; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
// a pure function of its key, so any rank, after any restart, draws the same numbers and nothing needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

namespace memring {

/// What a stream of random numbers is for; different purposes never share numbers.
enum class Purpose : uint32_t {
  Init = 1,
  DataOrder = 2,
  Truncation = 3,
  Task = 4,
  Test = 5,
  Curriculum = 6,
  Positions = 7,
  Reservoir = 8
};

/// Four 32-bit words for a 64-bit key and a 128-bit counter.
std::array<uint32_t, 4> philox(uint64_t key, std::array<uint32_t, 4> counter);

/// Numbers keyed by (seed, purpose, step, sample, position).
class Random {
 public:
  Random(uint64_t seed, Purpose purpose, uint64_t step = 0, uint32_t sample = 0);
  uint64_t bits(uint32_t position) const;                   ///< 64 uniform bits
  double uniform(uint32_t position) const;                  ///< in [0, 1), 53 bits
  double normal(uint32_t position) const;                   ///< N(0, 1) by Box and Muller
  uint64_t below(uint32_t position, uint64_t bound) const;  ///< in [0, bound), bound > 0

 private:
  uint64_t key_;
  uint64_t step_;
  uint32_t sample_;
};

/// The index-th element of a pseudo-random permutation of [0, count): a Feistel network with cycle walking, so that a
/// data set of any size is shuffled without a table.
uint64_t permuted(uint64_t index, uint64_t count, uint64_t seed, uint64_t epoch);

}  // namespace memring
