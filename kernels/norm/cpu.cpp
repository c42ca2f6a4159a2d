// Sum of squares: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/cpu.h"

#include <algorithm>

#include "kernels/common/dispatch.h"
#include "kernels/norm/loops.h"

namespace memring::cpu {

void squared_norms(const Queue& queue, std::span<double> sums, const float* x, int64_t count, int64_t block) {
  const NormLoops& loops = MEMRING_LOOPS(queue, norm_loops);
  parallel_for(threads_for(queue, count), std::ssize(sums), [&](int64_t b) {
    sums[static_cast<size_t>(b)] = loops.squares(x + b * block, std::min(block, count - b * block));
  });
}

}  // namespace memring::cpu
