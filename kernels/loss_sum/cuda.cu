// Sum of losses on a device: in ascending order, as everywhere. It is one thread that adds, at some cycles a number.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/loss_sum/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

/// What the block reads ahead for it.
struct Losses {
  static constexpr int kCount = 1024;
  double of[kCount];
};

template <class T>
MEMRING_KERNEL void loss_sum(double* sum, const T* losses, int64_t rows) {
  auto& read = block_memory<Losses>();
  double all = thread_index() == 0 ? *sum : 0;
  for (int64_t begin = 0; begin < rows; begin += Losses::kCount) {
    const auto count = static_cast<int>(rows - begin < Losses::kCount ? rows - begin : Losses::kCount);
    for (int i = thread_index(); i < count; i += block_threads()) read.of[i] = static_cast<double>(losses[begin + i]);
    meet_block();
    if (thread_index() == 0)
      for (int i = 0; i < count; ++i) all += read.of[i];
    meet_block();
  }
  if (thread_index() == 0) *sum = all;
}

void add(Queue& queue, View<double> sum, ConstView<> losses) {
  const Grid one_block{1, 1, 256, sizeof(Losses)};
  by_float_type(losses.dtype(), [&]<class T>() {
    launch<loss_sum<T>>(queue, one_block, sum.data(), address<T>(losses), losses.size());
  });
}

const LossSumKernels kernels{add};

}  // namespace

const LossSumKernels* const loss_sum_cuda = &kernels;

}  // namespace memring
