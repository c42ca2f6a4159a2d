// Sum of squares on a device: of each block in double, and then of the blocks in order.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/cuda.h"

#include <lane.h>
#include <launch.h>

#include <algorithm>

#include "kernels/common/workspace.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

constexpr int64_t kMostBlocks = 1024;
constexpr int kThreads = 256;
static_assert(kMostBlocks * sizeof(double) <= kWorkspaceBytes);

struct Sums {
  double of_warp[kThreads / kWarp];
};

template <class T>
MEMRING_KERNEL void block_squares(double* sums, const T* x, int64_t count) {
  auto& shared = block_memory<Sums>();
  double sum = 0;
  for (int64_t i = grid_index(); i < count; i += grid_threads())
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  sum = warp_sum(sum);
  if (lane_index() == 0) shared.of_warp[warp_index()] = sum;
  meet_block();
  if (thread_index() != 0) return;
  double all = 0;
  for (const double of_warp : shared.of_warp) all += of_warp;
  sums[block_x()] = all;
}

/// One warp.
MEMRING_KERNEL void add_sums(double* sum, const double* sums, int64_t count) {
  double mine = 0;
  for (int64_t i = lane_index(); i < count; i += kWarp) mine += sums[i];
  const double all = warp_sum(mine);
  if (lane_index() == 0) *sum += all;
}

void add(Queue& queue, View<double> sum, ConstView<> x) {
  constexpr int64_t kOfBlock = 16 * kThreads;  // numbers, where that gives enough blocks
  const int64_t blocks = std::clamp<int64_t>((x.size() + kOfBlock - 1) / kOfBlock, 1, kMostBlocks);
  double* const sums = address<double>(View<>(queue.workspace(blocks * bytes_of(DType::F64))));
  by_float_type(x.dtype(), [&]<class T>() {
    launch<block_squares<T>>(queue, Grid{blocks, 1, kThreads, sizeof(Sums)}, sums, address<T>(x), x.size());
  });
  launch<add_sums>(queue, Grid{}, sum.data(), sums, blocks);
}

const SquaredNormKernels kernels{add};

}  // namespace

const SquaredNormKernels* const norm_cuda = &kernels;

}  // namespace memring
