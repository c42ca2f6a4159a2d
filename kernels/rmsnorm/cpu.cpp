// RMSNorm: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/cpu.h"

#include <algorithm>
#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/exact_sum/exact_sum.h"
#include "kernels/rmsnorm/loops.h"

namespace memring::cpu {

void rmsnorm_forward(const Queue& queue, float* y, float* inv_rms, const float* x, const float* gain, int64_t rows,
                     int64_t dim, double eps) {
  const RmsNormLoops& loops = MEMRING_LOOPS(queue, rmsnorm_loops);
  parallel_ranges(threads_for(queue, rows * dim), rows, [&](int64_t begin, int64_t end, int) {
    loops.forward(y + begin * dim, inv_rms + begin, x + begin * dim, gain, end - begin, dim, static_cast<float>(eps));
  });
}

// dgain is summed in blocks of rows, whose partial sums are then added in ascending order. A group of blocks at a time,
// so that the partial sums take kGroup rows whatever the number of rows. Exact sums get one term for each block, which
// must not cross the border of a canonical one.
void rmsnorm_backward(Queue& queue, float* dx, Write write, View<> dgain, const float* dy, const float* x,
                      const float* gain, const float* inv_rms, int64_t rows, int64_t dim) {
  constexpr int64_t kMostRows = 64, kGroup = 64;
  const RmsNormLoops& loops = MEMRING_LOOPS(queue, rmsnorm_loops);
  const int64_t block = queue.block() > 0 ? std::min(kMostRows, queue.block()) : kMostRows;
  thread_local std::vector<float> partial_sums;
  for (int64_t first = 0; first < rows; first += block * kGroup) {
    const int64_t last = std::min(rows, first + block * kGroup), blocks = (last - first + block - 1) / block;
    partial_sums.assign(static_cast<size_t>(blocks * dim), 0.0f);
    float* const partial = partial_sums.data();
    parallel_ranges(threads_for(queue, (last - first) * dim), blocks, [&](int64_t begin, int64_t end, int) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t row = first + b * block, count = std::min(block, last - row);
        loops.backward(dx + row * dim, write, partial + b * dim, dy + row * dim, x + row * dim, gain, inv_rms + row,
                       count, dim);
      }
    });
    for (int64_t b = 0; dgain && b < blocks; ++b) {
      if (dgain.dtype() == DType::Exact) {
        ExactSum::add(queue, dgain, View<float>(partial + b * dim, {dim}));
        continue;
      }
      for (int64_t i = 0; i < dim; ++i) dgain.as<float>()[i] += partial[b * dim + i];
    }
  }
}

}  // namespace memring::cpu
