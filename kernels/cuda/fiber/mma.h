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

/// The row of eight 16-bit numbers that each lane has in the block's memory.
using Row = std::array<uint16_t, 8>;
inline void bring_row(const void* address, Place place) {
  expect_row_in_block(address, place);
  bring_value(*static_cast<const Wide*>(address), place);
}

/// The registers of a lane that hold its part of a and b.
using Operands = std::array<uint32_t, 6>;
/// The 16 numbers of a row of a or of a column of b, which the four lanes of a group hold in two registers each.
inline std::array<float, 16> brought_numbers(int group, size_t first_register, size_t second_register) {
  std::array<float, 16> numbers;
  for (size_t t = 0; t < 4; ++t) {
    const auto registers = brought_value<Operands>(4 * group + static_cast<int>(t));
    for (const size_t half : {size_t{0}, size_t{1}}) {
      const uint32_t pair = registers[half == 0 ? first_register : second_register];
      numbers[8 * half + 2 * t] = __builtin_bit_cast(float, pair << 16);
      numbers[8 * half + 2 * t + 1] = __builtin_bit_cast(float, pair & 0xffff0000u);
    }
  }
  return numbers;
}

}  // namespace fiber

/// Four 8 x 8 matrices of 16-bit numbers from the block's memory: lane i gives the address of row i % 8 of matrix i /
/// 8, 16 bytes at a multiple of 16. of[m] gets the numbers at row g, columns 2t and 2t + 1, of matrix m: a fragment of
/// a.
inline void load_matrices(uint32_t (&of)[4], const void* row, Place place = Place::current()) {
  fiber::bring_row(row, place);
  const int g = lane_index() / 4;
  const auto t = static_cast<size_t>(lane_index() % 4);
  for (int m = 0; m < 4; ++m) {
    const auto numbers = fiber::brought_value<fiber::Row>(8 * m + g);
    of[m] = numbers[2 * t] | static_cast<uint32_t>(numbers[2 * t + 1]) << 16;
  }
}
/// The same of each matrix transposed: of[m] gets the numbers at rows 2t and 2t + 1 of column g.
inline void load_transposed(uint32_t (&of)[4], const void* row, Place place = Place::current()) {
  fiber::bring_row(row, place);
  const int g = lane_index() / 4, t = lane_index() % 4;
  const auto at = [g](int of_row) -> uint32_t {
    return fiber::brought_value<fiber::Row>(of_row)[static_cast<size_t>(g)];
  };
  for (int m = 0; m < 4; ++m) of[m] = at(8 * m + 2 * t) | at(8 * m + 2 * t + 1) << 16;
}

/// sums += a b. Products are exact in fp32, and are added in ascending order of a's columns; a GPU's own order and
/// rounding of the 16 is not told.
inline void mma_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     Place place = Place::current()) {
  fiber::bring_value(fiber::Operands{a[0], a[1], a[2], a[3], b0, b1}, place);
  const int g = lane_index() / 4, t = lane_index() % 4;
  const std::array rows{fiber::brought_numbers(g, 0, 2), fiber::brought_numbers(g, 1, 3)};
  const std::array columns{fiber::brought_numbers(2 * t, 4, 5), fiber::brought_numbers(2 * t + 1, 4, 5)};
  for (size_t i = 0; i < 4; ++i)
    for (size_t k = 0; k < 16; ++k) sums[i] += rows[i / 2][k] * columns[i % 2][k];
}

}  // namespace memring
