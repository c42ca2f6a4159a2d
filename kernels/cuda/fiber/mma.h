// Products of small matrices by a warp, on fibers (kernels/cuda/nvcc/mma.h: on a GPU). All lanes of a warp take part;
// which numbers a lane holds is the hardware's layout (PTX ISA, "Matrix Fragments for mma.m16n8k16"). With
// g = lane / 4 and t = lane % 4, two bf16 a register, the first one in its lower half:
//   a, 16 x 16: a[0] at row g, columns 2t and 2t + 1; a[1] at row g + 8; a[2] at row g, column 2t + 8; a[3] at both
//   b, 16 x 8:  b0 at rows 2t and 2t + 1 of column g; b1 at rows 2t + 8 and 2t + 9
//   sums, 16 x 8: sums[0] and [1] at row g, columns 2t and 2t + 1; [2] and [3] at row g + 8
// Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstring>

#include "kernels/cuda/fiber/copy_async.h"
#include "kernels/cuda/fiber/lane.h"

namespace memring {

/// Two numbers rounded to bf16, ties to even, in a register.
inline uint32_t pack_bf16(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }

namespace fiber {

/// The row of eight 16-bit numbers that each lane has in the block's memory; of all lanes, 32 rows.
struct BroughtRows {
  const std::byte* rows;
  uint32_t at(int matrix, int row, int column) const {
    uint16_t bits;
    std::memcpy(&bits, rows + kMostBrought * static_cast<size_t>(8 * matrix + row) + 2 * static_cast<size_t>(column),
                sizeof(bits));
    return bits;
  }
};
inline BroughtRows bring_row(const void* row, Place place) {
  expect_row_in_block(row, place);
  return {bring(row, 16, place)};
}

}  // namespace fiber

/// Four 8 x 8 matrices of 16-bit numbers from the block's memory: lane i gives the address of row i % 8 of matrix i /
/// 8, 16 bytes at a multiple of 16. of[m] gets the numbers at row g, columns 2t and 2t + 1, of matrix m: a fragment of
/// a.
inline void load_matrices(uint32_t (&of)[4], const void* row, Place place = Place::current()) {
  const auto brought = fiber::bring_row(row, place);
  const int g = lane_index() / 4, t = lane_index() % 4;
  for (int m = 0; m < 4; ++m) of[m] = brought.at(m, g, 2 * t) | brought.at(m, g, 2 * t + 1) << 16;
}
/// The same of each matrix transposed: of[m] gets the numbers at rows 2t and 2t + 1 of column g.
inline void load_transposed(uint32_t (&of)[4], const void* row, Place place = Place::current()) {
  const auto brought = fiber::bring_row(row, place);
  const int g = lane_index() / 4, t = lane_index() % 4;
  for (int m = 0; m < 4; ++m) of[m] = brought.at(m, 2 * t, g) | brought.at(m, 2 * t + 1, g) << 16;
}

/// sums += a b. Products are exact in fp32, and are added in ascending order of a's columns; a GPU's own order and
/// rounding of the 16 is not told.
inline void mma_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     Place place = Place::current()) {
  const std::array<uint32_t, 6> mine{a[0], a[1], a[2], a[3], b0, b1};
  const std::byte* const all = fiber::bring(mine.data(), sizeof(mine), place);
  // The eight registers with the 16 numbers of a row of a (first = 0 or 1: the upper or lower half) or a column of b.
  const auto numbers = [all](int group, int first, int step) {
    std::array<float, 16> found;
    for (int t = 0; t < 4; ++t)
      for (int half = 0; half < 2; ++half) {
        uint32_t pair;
        std::memcpy(&pair,
                    all + fiber::kMostBrought * static_cast<size_t>(4 * group + t) +
                        sizeof(pair) * static_cast<size_t>(first + step * half),
                    sizeof(pair));
        const auto at = static_cast<size_t>(2 * t + 8 * half);
        found[at] = __builtin_bit_cast(float, pair << 16);
        found[at + 1] = __builtin_bit_cast(float, pair & 0xffff0000u);
      }
    return found;
  };
  const int g = lane_index() / 4, t = lane_index() % 4;
  const std::array rows{numbers(g, 0, 2), numbers(g, 1, 2)};
  const std::array columns{numbers(2 * t, 4, 1), numbers(2 * t + 1, 4, 1)};
  for (size_t i = 0; i < 4; ++i)
    for (size_t k = 0; k < 16; ++k) sums[i] += rows[i / 2][k] * columns[i % 2][k];
}

}  // namespace memring
