// Products of a warpgroup that it does not wait for, on fibers (kernels/cuda/nvcc/wgmma.h: on a GPU). The 128 threads
// of four warps take part. With w = warp % 4, g = lane / 4 and t = lane % 4:
//   sums, 64 x 64 or 128: sums[4j] and [4j + 1] at row 16w + g, columns 8j + 2t and 8j + 2t + 1; [4j + 2], [4j + 3] at
//     row 16w + g + 8
//   a in registers, 64 x 16: rows 16w to 16w + 15 as the a of mma.h
// Operands in the block's memory are boxes of 64 columns as tensor_copy.h leaves them, of any number of rows.
// Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/cuda/fiber/mma.h"
#include "kernels/cuda/fiber/tensor_copy.h"

namespace memring {

/// An operand that begins at this address of the block's memory. Its 16 numbers along the sum lie
///   in a box's row, for a and for b: the operand's rows are the box's; at = box + 32 bytes for each 16 columns;
///   in a box's column, for wgmma<true>'s b: b's columns are the box's; at = box + 2,048 bytes for each 16 rows, and
///   the box with the next 64 of b's columns is group_bytes further.
inline uint64_t operand(const void* at, int group_bytes = 16, Place place = Place::current()) {
  fiber::expect_row_in_block(at, place);
  const auto start = static_cast<uint64_t>(static_cast<const std::byte*>(at) - fiber::block_memory());
  return start >> 4 | static_cast<uint64_t>(group_bytes >> 4) << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

namespace fiber {

/// The number at row or column n of an operand, and at k along the sum.
inline float number_of(uint64_t operand, bool columns, size_t n, size_t k) {
  const size_t start = (operand & 0x3fff) << 4, group = (operand >> 16 & 0x3fff) << 4,
               eight = (operand >> 32 & 0x3fff) << 4;
  const size_t at = swizzled(start + (columns ? n / 64 * group + n % 64 * 2 + k / 8 * eight + k % 8 * 128
                                              : n / 8 * eight + n % 8 * 128 + k * 2));
  if (at + sizeof(Bf16) > static_cast<size_t>(grid().bytes))
    throw Error(ExitCode::Internal, "an operand of wgmma reaches beyond the block's memory");
  return reinterpret_cast<const Bf16*>(block_memory() + at)->value();
}

/// Both rows of a that a lane sums: found at the wait.
using TwoRows = std::array<std::array<float, 16>, 2>;

inline TwoRows rows_of(uint64_t a) {
  TwoRows rows;
  for (size_t i = 0; i < 2; ++i)
    for (size_t k = 0; k < 16; ++k) {
      const auto row = static_cast<size_t>(warp_index() % 4 * 16 + lane_index() / 4) + 8 * i;
      rows[i][k] = number_of(a, false, row, k);
    }
  return rows;
}

/// `rows` gives the rows of a at the wait. The sums are NaN until nothing that is added to them is open.
template <bool ColumnsOfB, int Count, class Rows>
void begin_product(float (&sums)[Count], const Rows& rows, uint64_t b, bool accumulate, Place place) {
  meet_warpgroup(place);
  auto& products = fiber::products();
  if (!products.fenced) refuse("multiplies by wgmma without a wgmma_fence since the last wait", place);
  std::shared_ptr<std::vector<float>> values;
  for (const auto& other : products.open)
    if (other.sums == sums) values = other.values;
  if (values == nullptr) {
    values = std::make_shared<std::vector<float>>(sums, sums + Count);
    std::fill_n(sums, Count, std::numeric_limits<float>::quiet_NaN());
  }
  products.open.push_back({sums, values,
                           [=] {
                             const TwoRows a = rows();
                             for (size_t i = 0; i < Count; ++i) {
                               const size_t n = i / 4 * 8 + 2 * static_cast<size_t>(lane_index() % 4) + i % 2;
                               float sum = accumulate ? (*values)[i] : 0;
                               for (size_t k = 0; k < 16; ++k) sum += a[i / 2 % 2][k] * number_of(b, ColumnsOfB, n, k);
                               (*values)[i] = sum;
                             }
                           },
                           products.groups});
}

}  // namespace fiber

/// sums (+)= a b, both in the block's memory, which is read until the wait; ColumnsOfB: see operand(). The order of
/// each sum as of mma_bf16.
template <bool ColumnsOfB = false, int Count>
void wgmma(float (&sums)[Count], uint64_t a, uint64_t b, bool accumulate, Place place = Place::current()) {
  static_assert(Count == 32 || Count == 64);
  fiber::begin_product<ColumnsOfB>(
      sums, [a] { return fiber::rows_of(a); }, b, accumulate, place);
}
/// The same with a in registers, which keep their numbers until the wait.
template <bool ColumnsOfB = false, int Count>
void wgmma(float (&sums)[Count], const uint32_t (&a)[4], uint64_t b, bool accumulate, Place place = Place::current()) {
  static_assert(Count == 32 || Count == 64);
  const fiber::Operands mine{a[0], a[1], a[2], a[3], 0, 0};
  fiber::bring_value(mine, place);
  const int g = lane_index() / 4;
  const fiber::TwoRows rows{fiber::brought_numbers(g, 0, 2), fiber::brought_numbers(g, 1, 3)};
  const uint32_t* const registers = a;
  const auto unchanged = [=] {
    if (!std::equal(registers, registers + 4, mine.begin()))
      fiber::refuse("has changed registers that wgmma takes a from before its wait", place);
    return rows;
  };
  fiber::begin_product<ColumnsOfB>(sums, unchanged, b, accumulate, place);
}

/// Before the first product, and before the next one behind a wait: what these sums hold is found by products.
template <int... Counts>
void wgmma_fence([[maybe_unused]] float (&... sums)[Counts]) {
  fiber::products().fenced = true;
}
/// The products since the last commit are a group.
inline void wgmma_commit() { ++fiber::products().groups; }
/// All groups but the latest `Pending` are done; the sums among theirs that are read from here on are named.
template <int Pending, int... Counts>
void wgmma_wait([[maybe_unused]] float (&... sums)[Counts]) {
  auto& products = fiber::products();
  products.fenced = false;
  const auto done = std::find_if(products.open.begin(), products.open.end(),
                                 [&](const auto& product) { return product.group >= products.groups - Pending; });
  for (auto product = products.open.begin(); product != done; ++product) {
    product->add();
    const bool more =
        std::any_of(product + 1, products.open.end(), [&](const auto& other) { return other.sums == product->sums; });
    if (!more) std::copy(product->values->begin(), product->values->end(), product->sums);
  }
  products.open.erase(products.open.begin(), done);
}

/// So many registers a thread from here on, a multiple of 8: what some warpgroups of a block give up others may have.
/// By all threads of a warpgroup, in a kernel of MEMRING_BLOCKS(..., 1).
template <int Count>
void more_registers() {}
template <int Count>
void fewer_registers() {}

}  // namespace memring
