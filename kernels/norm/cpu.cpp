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
  const Timed timed(queue, "SquaredNorm", 0, x);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(), [&]<class T>() { return reference::squared_norm(x.as<T>(), x.size()); });
  constexpr int64_t kBlock = 65536;
  const NormLoops& loops = MEMRING_LOOPS(queue, norm_loops);
  const float* const from = x.as<float>();
  const int64_t size = x.size();
  std::vector<double> blocks(static_cast<size_t>((size + kBlock - 1) / kBlock));
  parallel_for(threads_for(queue, size), static_cast<int64_t>(blocks.size()), [&](int64_t b) {
    blocks[static_cast<size_t>(b)] = loops.squares(from + b * kBlock, std::min(kBlock, size - b * kBlock));
  });
  double sum = 0;
  for (double block : blocks) sum += block;
  return sum;
}

}  // namespace memring
