// Grid: how many threads a kernel runs on. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

constexpr int kWarp = 32;  ///< lanes of a warp

/// So many blocks, of `threads` each, a multiple of kWarp up to 1,024, which share `bytes` of memory.
struct Grid {
  int64_t x = 1, y = 1;
  int threads = kWarp;
  int64_t bytes = 0;
};

/// One thread for each of `count` things that a kernel goes through in steps of the whole grid.
inline Grid grid_for(int64_t count, int threads = 256) {
  constexpr int64_t kMost = 1 << 16;  // blocks: more of them than run at the same time gain nothing
  while (threads > kWarp && count <= threads / 2) threads /= 2;
  const int64_t blocks = (count + threads - 1) / threads;
  return {blocks < 1 ? 1 : blocks > kMost ? kMost : blocks, 1, threads, 0};
}

/// Of a block that goes through a row of so many numbers.
inline int threads_for_row(int64_t numbers) {
  constexpr int64_t kMost = 1024;
  return numbers >= kMost ? kMost : numbers <= kWarp ? kWarp : static_cast<int>((numbers + kWarp - 1) / kWarp * kWarp);
}

}  // namespace memring
