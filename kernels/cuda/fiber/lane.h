// What a kernel's thread does besides arithmetic, on fibers (kernels/cuda/nvcc/lane.h: on a GPU). Kernels are written
// with these, once for both. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "base/bf16.h"
#include "kernels/cuda/fiber/block.h"

#define MEMRING_KERNEL                   // runs on each thread of a grid
#define MEMRING_BLOCKS(threads, blocks)  // behind it: so many blocks of so many threads share a multiprocessor
#define MEMRING_LANE inline              // is called by threads

namespace memring {

/// Where in a kernel threads meet: lanes that meet at different places are an error. Functions that meet for their
/// caller hand it on.
using Place = fiber::Place;

inline int thread_index() { return fiber::thread_index(); }
inline int block_threads() { return fiber::grid().threads; }
inline int lane_index() { return thread_index() % kWarp; }
inline int warp_index() { return thread_index() / kWarp; }
inline int64_t block_x() { return fiber::block_index(0); }
inline int64_t block_y() { return fiber::block_index(1); }
inline int64_t blocks_x() { return fiber::grid().x; }

/// The thread in the grid, and the threads of the grid: a kernel goes through any number of things in steps of these.
inline int64_t grid_index() { return block_x() * block_threads() + thread_index(); }
inline int64_t grid_threads() { return blocks_x() * block_threads(); }

/// The block's shared memory: one struct a kernel, whose size its grid asks for.
template <class T>
T& block_memory() {
  return *reinterpret_cast<T*>(fiber::block_memory());
}

/// All threads of the block; what they have written is seen behind it.
inline void meet_block(Place place = Place::current()) { fiber::meet_block(place); }
/// The same for a warp.
inline void meet_warp(Place place = Place::current()) { fiber::meet_warp(place); }

/// The value of lane `lane`, of that of the lanes whose number differs by these bits, and of the lane so many further
/// on (itself, where there is none). All lanes of a warp take part.
template <class T>
T shuffle(T value, int lane, Place place = Place::current()) {
  fiber::bring_value(value, place);
  return fiber::brought_value<T>(lane);
}
template <class T>
T shuffle_xor(T value, int bits, Place place = Place::current()) {
  return memring::shuffle(value, lane_index() ^ bits, place);
}
template <class T>
T shuffle_down(T value, int by, Place place = Place::current()) {
  const int lane = lane_index() + by;
  return memring::shuffle(value, lane < kWarp ? lane : lane_index(), place);
}
/// A bit of each lane.
inline uint32_t ballot(bool mine, Place place = Place::current()) {
  fiber::bring_value(mine, place);
  uint32_t bits = 0;
  for (int lane = 0; lane < kWarp; ++lane)
    if (fiber::brought_value<bool>(lane)) bits |= uint32_t{1} << lane;
  return bits;
}

inline float exp_of(float x) { return std::exp(x); }
inline double exp_of(double x) { return std::exp(x); }
/// 2 to the power of x, to within 2^-22 of it on a GPU; 0 in place of denormals.
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < std::numeric_limits<float>::min() ? 0 : y;
}
inline float inverse_root(float x) { return 1 / std::sqrt(x); }
inline double inverse_root(double x) { return 1 / std::sqrt(x); }
inline float log_of(float x) { return std::log(x); }
inline double log_of(double x) { return std::log(x); }

inline float root(float x) { return std::sqrt(x); }
inline double root(double x) { return std::sqrt(x); }
/// The number of the lowest one, of some.
inline int lowest_bit(uint32_t bits) { return std::countr_zero(bits); }

// Numbers as they are stored, and as they are computed with.
inline float computed(float x) { return x; }
inline double computed(double x) { return x; }
inline float computed(Bf16 x) { return x.value(); }
inline void store(float& to, float x) { to = x; }
inline void store(double& to, double x) { to = x; }
inline void store(Bf16& to, float x) { to = Bf16(x); }

/// Itself: what follows from it is computed where it stands, not before a loop, where it would take registers.
inline int computed_here(int x) { return x; }

/// Lowers a number to one that is smaller; NaN is not. Neither may be negative. Any order of threads gives the same.
inline void lower(double& to, double value) {
  const std::atomic_ref<double> there(to);
  double before = there.load(std::memory_order_relaxed);
  while (value < before && !there.compare_exchange_weak(before, value, std::memory_order_relaxed)) {
  }
}

}  // namespace memring
