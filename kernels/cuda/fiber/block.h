// The threads of a kernel's block as fibers of the host, which change places where they meet. What a GPU leaves open is
// drawn at random, and what it forbids is an error that names the places in the source: so kernels are tested without a
// GPU. Private to kernels/cuda/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/grid.h"

namespace memring::fiber {

/// Of a call in the source: a function's last argument, Place::current() by default. (Not std::source_location, which
/// clang 14 does not have.)
struct Place {
  const char* file = "";
  int line = 0;
  static constexpr Place current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// Runs `thread` once for each thread of the grid: blocks one after the other, in an order drawn from the seed; of a
/// block's threads always one that is not waiting, drawn as well. A block's shared memory is NaN at its start. Throws
/// what a thread throws, and Error(Internal) where threads wait for each other and nobody can go on, where those of a
/// warp or block meet at different places, and where one has left while others wait for it.
void run(const Grid& grid, uint64_t seed, const std::function<void()>& thread);

// Of the thread that runs; outside of run() there is none.
int thread_index();
int64_t block_index(int axis);
const Grid& grid();
std::byte* block_memory();

/// All threads of the block, or of the warp, are here.
void meet_block(Place);
void meet_warp(Place);

/// A meeting of the warp to which each lane brings `size` bytes, up to kMostBrought: what lane i has brought is at
/// kMostBrought * i, until the lane's meeting after the next.
constexpr size_t kMostBrought = 64;
const std::byte* bring(const void* mine, size_t size, Place);

/// A copy that a thread has begun and not waited for, and how many groups were committed before (copy_async.h).
struct AsyncCopy {
  void* to;
  const void* from;
  size_t bytes;
  int64_t group;
};
struct AsyncCopies {
  std::vector<AsyncCopy> open;
  int64_t groups = 0;
};
AsyncCopies& copies();  ///< of the thread that runs

/// Throws Error(Internal): what is wrong with what the thread that runs does there.
[[noreturn]] void refuse(const std::string& what, Place);

}  // namespace memring::fiber
