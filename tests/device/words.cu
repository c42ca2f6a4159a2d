// Words that every GPU from sm_80 on knows. SPDX-License-Identifier: Apache-2.0
#include "tests/device/words.h"

#include <copy_async.h>
#include <lane.h>
#include <mma.h>
#include <run.h>

#include "kernels/cuda/reduce.h"

namespace memring::MEMRING_WORLD {
namespace {

MEMRING_LANE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

/// What each thread of a warp, or of more of them, finds in `Each` words: kernels write found[Each * index + i].
template <auto Kernel, int Each>
std::vector<uint32_t> found(const Grid& grid) {
  Numbers<uint32_t> numbers(std::vector<uint32_t>(static_cast<size_t>(grid.x * grid.y * grid.threads * Each)));
  start<Kernel>(grid, numbers.data());
  return numbers.read();
}
template <auto Kernel, int Each>
std::vector<uint32_t> found_by_a_warp() {
  return found<Kernel, Each>({1, 1, kWarp, 4096});
}

MEMRING_KERNEL void indices(uint32_t* found) {
  uint32_t* const mine = found + 6 * (block_y() * grid_threads() + grid_index());
  mine[0] = static_cast<uint32_t>(thread_index());
  mine[1] = static_cast<uint32_t>(block_threads());
  mine[2] = static_cast<uint32_t>(100 * warp_index() + lane_index());
  mine[3] = static_cast<uint32_t>(block_x());
  mine[4] = static_cast<uint32_t>(blocks_x());
  mine[5] = static_cast<uint32_t>(block_y());
}

MEMRING_KERNEL void shuffles(uint32_t* found) {
  const int lane = lane_index();
  uint32_t* const mine = found + 6 * lane;
  mine[0] = static_cast<uint32_t>(shuffle(3 * lane, (lane + 7) % kWarp));
  mine[1] = static_cast<uint32_t>(shuffle_xor(3 * lane, 5));
  mine[2] = static_cast<uint32_t>(shuffle_down(3 * lane, 3));
  mine[3] = ballot(lane % 3 == 0);
  mine[4] = bits_of(warp_sum(1.f / static_cast<float>(lane + 1)));
  mine[5] = bits_of(static_cast<float>(warp_sum(1. / (lane + 1))));
}

struct Sixteens {
  alignas(16) uint32_t of[2][kWarp][4];
};

/// Lane i copies i % 17 valid bytes, then 16, in two groups; others read them.
MEMRING_KERNEL void copies(uint32_t* found) {
  auto& shared = block_memory<Sixteens>();
  const int lane = lane_index();
  uint32_t* const mine = found + 8 * lane;
  for (int i = 0; i < 8; ++i) mine[i] = 0x01020304u * static_cast<uint32_t>(8 * lane + i + 1);
  meet_warp();
  copy_async(shared.of[0][lane], mine, lane % 17);
  copy_commit();
  copy_async(shared.of[1][lane], mine + 4);
  copy_commit();
  copy_wait<1>();
  copy_wait<0>();
  meet_warp();
  for (int i = 0; i < 4; ++i) {
    mine[i] = shared.of[0][lane ^ 1][i];
    mine[4 + i] = shared.of[1][lane ^ 1][i];
  }
}

struct Rows {
  alignas(16) Bf16 of[kWarp][8];
};
/// Small integers.
MEMRING_LANE void fill(Rows& rows) {
  for (int i = 0; i < 8; ++i) store(rows.of[lane_index()][i], static_cast<float>((7 * lane_index() + 3 * i) % 11 - 5));
  meet_warp();
}

MEMRING_KERNEL void matrices(uint32_t* found) {
  auto& rows = block_memory<Rows>();
  fill(rows);
  uint32_t plain[4], transposed[4];
  load_matrices(plain, rows.of[lane_index()]);
  load_transposed(transposed, rows.of[lane_index()]);
  for (int i = 0; i < 4; ++i) {
    found[8 * lane_index() + i] = plain[i];
    found[8 * lane_index() + 4 + i] = transposed[i];
  }
}

MEMRING_KERNEL void products(uint32_t* found) {
  auto& rows = block_memory<Rows>();
  fill(rows);
  uint32_t a[4], b[4];
  load_matrices(a, rows.of[lane_index()]);
  load_transposed(b, rows.of[lane_index()]);
  float sums[4] = {1, -2, 3, static_cast<float>(lane_index())};
  mma_bf16(sums, a, b[0], b[1]);
  mma_bf16(sums, a, b[2], b[3]);
  for (int i = 0; i < 4; ++i) found[4 * lane_index() + i] = bits_of(sums[i]);
}

MEMRING_KERNEL void roundings(uint32_t* found) {
  const auto x = static_cast<float>(lane_index() - 16);
  uint32_t* const mine = found + 5 * lane_index();
  const float between = 1 + x / 256;  // ties among them
  mine[0] = pack_bf16(between, -between / 3);
  Bf16 stored;
  store(stored, between / 7);
  mine[1] = stored.bits;
  mine[2] = bits_of(computed(stored));
  mine[3] = bits_of(exp2_fast(8 * x));  // exact, and too small for the last ones
  mine[4] = bits_of(inverse_root(static_cast<float>(1 << (lane_index() / 2 * 2 % 16))));
}

}  // namespace

const std::vector<DeviceWord>& words() {
  static const std::vector<DeviceWord> all{
      {"indices of threads",
       [] {
         return found<indices, 6>({3, 2, 64, 0});
       }},
      {"shuffles and sums of a warp", found_by_a_warp<shuffles, 6>},
      {"asynchronous copies", found_by_a_warp<copies, 8>},
      {"matrices from the block's memory", found_by_a_warp<matrices, 8>},
      {"products of a warp", found_by_a_warp<products, 4>},
      {"roundings", found_by_a_warp<roundings, 5>},
  };
  return all;
}

}  // namespace memring::MEMRING_WORLD
