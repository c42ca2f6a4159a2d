// A product as kernels for Hopper are built: a producer warp brings tiles, a warpgroup multiplies what has come. For
// the compilers of both worlds, which find the words it is written with. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <barrier.h>
#include <tensor_copy.h>
#include <wgmma.h>

namespace memring {

constexpr int kSum = 64;    // numbers along the sum, of a step
constexpr int kRows = 128;  // of c, of a block: 64 for each of two warpgroups
constexpr int kProductThreads = 3 * 128;
constexpr int kStages = 2;

/// Columns is 64 or 128: of c, of a block.
template <int Columns>
struct ProductStages {
  Bf16 a[kStages][kRows][kSum], b[kStages][Columns][kSum];
  Barrier full[kStages], empty[kStages];
};
template <int Columns>
Grid product_grid(int64_t m, int64_t n) {
  return {(m + kRows - 1) / kRows, (n + Columns - 1) / Columns, kProductThreads, sizeof(ProductStages<Columns>)};
}

/// c [m, n] = a [m, k] b [n, k]^T. WaitsForEmpty: false plants a fault.
template <int Columns, bool WaitsForEmpty>
MEMRING_KERNEL void MEMRING_BLOCKS(kProductThreads, 1)
    hopper_product(float* c, const MEMRING_PARAMETER TensorMap a, const MEMRING_PARAMETER TensorMap b, int m, int n,
                   int k) {
  auto& stages = block_memory<ProductStages<Columns>>();
  const int row = static_cast<int>(block_x()) * kRows, column = static_cast<int>(block_y()) * Columns;
  const int steps = (k + kSum - 1) / kSum, warpgroup = warp_index() / 4;
  if (thread_index() == 0)
    for (int s = 0; s < kStages; ++s) {
      barrier_init(stages.full[s], 1);
      barrier_init(stages.empty[s], 2 * 128);
    }
  meet_block();
  if (warpgroup == 2) {
    fewer_registers<24>();
    if (thread_index() != 2 * 128) return;
    for (int i = 0; i < steps; ++i) {
      const int s = i % kStages, round = i / kStages;
      if (WaitsForEmpty) barrier_wait(stages.empty[s], (round + 1) % 2);
      barrier_expect(stages.full[s], static_cast<int>(sizeof(stages.a[s]) + sizeof(stages.b[s])));  // expects
      tensor_copy(stages.a[s], a, i * kSum, row, 0, stages.full[s]);
      tensor_copy(stages.b[s], b, i * kSum, column, 0, stages.full[s]);
    }
    return;
  }
  more_registers<240>();
  float sums[Columns / 2];
  for (int i = 0; i < steps; ++i) {
    const int s = i % kStages, round = i / kStages;
    barrier_wait(stages.full[s], round % 2);
    wgmma_fence(sums);
    for (int j = 0; j < kSum / 16; ++j)
      wgmma(sums, operand(&stages.a[s][64 * warpgroup][16 * j]), operand(&stages.b[s][0][16 * j]), i > 0 || j > 0);
    wgmma_commit();
    wgmma_wait<0>(sums);
    barrier_arrive(stages.empty[s]);
  }
  for (int i = 0; i < Columns / 2; ++i) {
    const int r = row + warp_index() * 16 + lane_index() / 4 + i / 2 % 2 * 8,
              at = column + i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
    if (r < m && at < n) c[static_cast<int64_t>(r) * n + at] = sums[i];
  }
}

}  // namespace memring
