// The threads of a kernel's block as fibers of the host, which change places where they meet. What a GPU leaves open is
// drawn at random, and what it forbids is an error that names the places in the source: so kernels are tested without a
// GPU. Private to kernels/cuda/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
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
/// warp or block meet at different places, and where one has left while others wait for it. ThreadSanitizer sees a race
/// where threads of a block touch the same memory with no meeting in between, or threads of two blocks at all.
void run(const Grid& grid, uint64_t seed, const std::function<void()>& thread);

// Of the thread that runs; outside of run() there is none.
int thread_index();
int64_t block_index(int axis);
const Grid& grid();
std::byte* block_memory();

/// All threads of the block, or of the warp, are here.
void meet_block(Place);
void meet_warp(Place);

/// The 128 threads of four warps are here; as bring(), it says nothing of memory.
void meet_warpgroup(Place);

/// A meeting of the warp to which each lane brings something; until its next one a lane finds there what lane `lane`
/// has brought. Unlike the others it says nothing of what lanes have written to memory.
constexpr size_t kMostBrought = 64;
struct Brought {
  std::byte bytes[kMostBrought];
};
void bring(const Brought& mine, Place);
Brought brought(int lane);

/// The same of one value.
template <class T>
void bring_value(const T& mine, Place place) {
  static_assert(sizeof(T) <= kMostBrought);
  Brought bytes;
  std::memcpy(bytes.bytes, &mine, sizeof(T));
  bring(bytes, place);
}
template <class T>
T brought_value(int lane) {
  const Brought bytes = brought(lane);
  T found;
  std::memcpy(&found, bytes.bytes, sizeof(T));
  return found;
}

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

/// The same of a product (wgmma.h): what adds it to the values that its sums are to have.
struct AsyncProduct {
  float* sums;
  std::shared_ptr<std::vector<float>> values;
  std::function<void()> add;
  int64_t group;
};
struct AsyncProducts {
  std::vector<AsyncProduct> open;
  int64_t groups = 0;
  bool fenced = false;
};
AsyncProducts& products();  ///< of the thread that runs

// Barriers, by their address in the block's memory (barrier.h).
void barrier_init(const void* barrier, int arrivals, Place);
void barrier_arrive(const void* barrier, int bytes_to_wait_for, Place);
void barrier_wait(const void* barrier, int parity, Place);
/// A copy that happens when no thread goes on without it; the barrier is then told of its bytes.
void transfer(std::function<void()> copy, const void* barrier, int bytes, Place);

/// Throws Error(Internal): what is wrong with what the thread that runs does there.
[[noreturn]] void refuse(const std::string& what, Place);

}  // namespace memring::fiber
