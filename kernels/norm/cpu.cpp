// Sum of squares: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/norm.h"

#include <algorithm>
#include <vector>

#include "base/profile.h"
#include "kernels/common/dispatch.h"
#include "kernels/norm/loops.h"
#include "kernels/norm/ref.h"

namespace memring {

double SquaredNorm::of(Queue& queue, ConstView<> x) {
  constexpr int64_t kBlock = 65536;
  double sum = 0;
  for (const double block : of_blocks(queue, x, queue.reference(x.dtype()) ? x.size() : kBlock)) sum += block;
  return sum;
}

std::vector<double> SquaredNorm::of_blocks(Queue& queue, ConstView<> x, int64_t block) {
  const Timed timed(queue, "SquaredNorm", 0, x);
  const int64_t size = x.size();
  if (size == 0) return {};
  std::vector<double> blocks(static_cast<size_t>((size + block - 1) / block));
  by_float_type(x.dtype(), [&]<class T>() {
    parallel_for(threads_for(queue, size), std::ssize(blocks), [&](int64_t b) {
      const T* const from = x.as<T>() + b * block;
      const int64_t count = std::min(block, size - b * block);
      if constexpr (std::is_same_v<T, float>) {
        if (!queue.reference(DType::F32)) {
          blocks[static_cast<size_t>(b)] = MEMRING_LOOPS(queue, norm_loops).squares(from, count);
          return;
        }
      }
      blocks[static_cast<size_t>(b)] = reference::squared_norm(from, count);
    });
  });
  return blocks;
}

}  // namespace memring
