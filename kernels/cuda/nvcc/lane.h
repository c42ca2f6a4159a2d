// What a kernel's thread does besides arithmetic, on a GPU (kernels/cuda/fiber/lane.h: on the host, and what each of
// these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include "base/bf16.h"
#include "kernels/cuda/grid.h"

#define MEMRING_KERNEL __global__
#define MEMRING_BLOCKS(threads, blocks) __launch_bounds__(threads, blocks)
#define MEMRING_LANE __device__ inline

namespace memring {

constexpr uint32_t kAllLanes = 0xffffffffu;

/// Nothing here.
struct Place {
  MEMRING_LANE static Place current() { return {}; }
};

MEMRING_LANE int thread_index() { return static_cast<int>(threadIdx.x); }
MEMRING_LANE int block_threads() { return static_cast<int>(blockDim.x); }
MEMRING_LANE int lane_index() { return thread_index() % kWarp; }
MEMRING_LANE int warp_index() { return thread_index() / kWarp; }
MEMRING_LANE int64_t block_x() { return blockIdx.x; }
MEMRING_LANE int64_t block_y() { return blockIdx.y; }
MEMRING_LANE int64_t blocks_x() { return gridDim.x; }

MEMRING_LANE int64_t grid_index() { return block_x() * block_threads() + thread_index(); }
MEMRING_LANE int64_t grid_threads() { return blocks_x() * block_threads(); }

template <class T>
MEMRING_LANE T& block_memory() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return *reinterpret_cast<T*>(memory);
}

MEMRING_LANE void meet_block(Place = Place::current()) { __syncthreads(); }
MEMRING_LANE void meet_warp(Place = Place::current()) { __syncwarp(); }

template <class T>
MEMRING_LANE T shuffle(T value, int lane, Place = Place::current()) {
  return __shfl_sync(kAllLanes, value, lane);
}
template <class T>
MEMRING_LANE T shuffle_xor(T value, int bits, Place = Place::current()) {
  return __shfl_xor_sync(kAllLanes, value, bits);
}
template <class T>
MEMRING_LANE T shuffle_down(T value, int by, Place = Place::current()) {
  return __shfl_down_sync(kAllLanes, value, static_cast<unsigned>(by));
}
MEMRING_LANE uint32_t ballot(bool mine, Place = Place::current()) { return __ballot_sync(kAllLanes, mine); }

MEMRING_LANE float exp_of(float x) { return expf(x); }
MEMRING_LANE double exp_of(double x) { return exp(x); }
MEMRING_LANE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
MEMRING_LANE float inverse_root(float x) { return 1 / sqrtf(x); }
MEMRING_LANE double inverse_root(double x) { return 1 / sqrt(x); }
MEMRING_LANE float log_of(float x) { return logf(x); }
MEMRING_LANE double log_of(double x) { return log(x); }

MEMRING_LANE float root(float x) { return sqrtf(x); }
MEMRING_LANE double root(double x) { return sqrt(x); }
MEMRING_LANE int lowest_bit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }

MEMRING_LANE float computed(float x) { return x; }
MEMRING_LANE double computed(double x) { return x; }
MEMRING_LANE float computed(Bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
MEMRING_LANE void store(float& to, float x) { to = x; }
MEMRING_LANE void store(double& to, double x) { to = x; }
MEMRING_LANE void store(Bf16& to, float x) {
  const uint32_t bits = __float_as_uint(x);
  to.bits = static_cast<uint16_t>((x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u) >> 16);
}

MEMRING_LANE int computed_here(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// Bits of numbers that are not negative are in the order of the numbers.
MEMRING_LANE void lower(double& to, double value) {
  atomicMin(reinterpret_cast<unsigned long long*>(&to), static_cast<unsigned long long>(__double_as_longlong(value)));
}

}  // namespace memring
