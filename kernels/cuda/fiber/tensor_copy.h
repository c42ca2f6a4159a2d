// Copies of boxes of a tensor to the block's memory, on fibers (kernels/cuda/nvcc/tensor_copy.h: on a GPU): they happen
// when nobody goes on without them. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "kernels/cuda/fiber/barrier.h"
#include "kernels/cuda/fiber/copy_async.h"

#define MEMRING_PARAMETER  // a kernel's parameter that is handed on by its address: const MEMRING_PARAMETER TensorMap
                           // map

namespace memring {

constexpr int kBoxColumns = 64;  ///< numbers of a box's row: 128 bytes

/// Bf16 of shape [matrices, rows, columns] in global memory, of which boxes of box_rows x kBoxColumns are copied.
struct TensorMap {
  const void* address;
  int64_t columns, rows, matrices;
  int box_rows;
};

/// Made by the host; the address is a multiple of 16, as are the bytes of a row, and a box has at most 256 rows.
inline TensorMap tensor_map(const void* address, int64_t columns, int64_t rows, int64_t matrices, int box_rows) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0 || columns % 8 != 0 || box_rows < 1 || box_rows > 256)
    throw Error(ExitCode::Internal, "a tensor map of " + std::to_string(columns) + " columns and boxes of " +
                                        std::to_string(box_rows) + " rows, or at no multiple of 16 bytes");
  return {address, columns, rows, matrices, box_rows};
}

namespace fiber {

/// Where the byte at this offset of the block's memory lies: of 1,024 bytes, which are eight rows of 128, the 16 bytes
/// with number c in row r are at number c ^ r.
inline size_t swizzled(size_t offset) { return offset ^ (offset >> 3 & 0x70); }

/// A row of eight numbers, or zeros where the tensor has none.
inline Wide tensor_row(const TensorMap& map, int64_t column, int64_t row, int64_t matrix) {
  const auto inside = [](int64_t at, int64_t size) { return at >= 0 && at < size; };
  if (!inside(column, map.columns) || !inside(row, map.rows) || !inside(matrix, map.matrices)) return {};
  return static_cast<const Wide*>(map.address)[((matrix * map.rows + row) * map.columns + column) / 8];
}

}  // namespace fiber

/// Begins to copy the box at these places of the tensor; zeros stand for what lies outside of it. Its rows lie behind
/// each other at `to`, at a multiple of 1,024 bytes of the block's memory, swizzled as wgmma takes them (wgmma.h).
/// `barrier` is told of box_rows * 128 bytes when they are there. By one thread. The column is a multiple of 8.
inline void tensor_copy(void* to, const TensorMap& map, int column, int row, int matrix, Barrier& barrier,
                        Place place = Place::current()) {
  fiber::expect_row_in_block(to, place);
  std::byte* const memory = fiber::block_memory();
  const auto start = static_cast<size_t>(static_cast<std::byte*>(to) - memory);
  const size_t bytes = static_cast<size_t>(map.box_rows) * kBoxColumns * sizeof(Bf16);
  if (start % 1024 != 0) fiber::refuse("copies a box to no multiple of 1,024 bytes", place);
  if (start + bytes > static_cast<size_t>(fiber::grid().bytes))
    fiber::refuse("copies a box beyond its block's memory", place);
  for (size_t at = start; at < start + bytes; at += 16)
    *reinterpret_cast<fiber::Wide*>(memory + at) = {~uint64_t{0}, ~uint64_t{0}};
  fiber::transfer(
      [=] {
        for (size_t at = 0; at < bytes; at += 16)
          *reinterpret_cast<fiber::Wide*>(memory + fiber::swizzled(start + at)) = fiber::tensor_row(
              map, column + static_cast<int64_t>(at % 128 / 2), row + static_cast<int64_t>(at / 128), matrix);
      },
      &barrier, static_cast<int>(bytes), place);
}

}  // namespace memring
