// RMSNorm: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/rmsnorm/loops.h"
#include "kernels/rmsnorm/ref.h"
#include "kernels/rmsnorm/rmsnorm.h"

namespace memring {
namespace {

// dgain is summed in blocks of rows, whose partial sums are then added in ascending order. A group of blocks at a time,
// so that the partial sums take kGroup rows whatever the number of rows. Exact sums get one term for each block, which
// must not cross the border of a canonical one.
constexpr int64_t kMostRows = 64, kGroup = 64;

void backward_fp32(Queue& queue, float* dx, Write write, View<> dgain, const float* dy, const float* x,
                   const float* gain, const float* inv_rms, int64_t rows, int64_t dim) {
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
    for (int64_t b = 0; b < blocks; ++b) {
      if (dgain.dtype() == DType::Exact) {
        ExactSum::add(queue, dgain, View<float>(partial + b * dim, {dim}));
        continue;
      }
      for (int64_t i = 0; i < dim; ++i) dgain.as<float>()[i] += partial[b * dim + i];
    }
  }
}

}  // namespace

void RmsNorm::forward(Queue& queue, View<> y, View<> inv_rms, ConstView<> x, ConstView<> gain, double eps) {
  const DType dtype = expect_float(x, 2, "RmsNorm x");
  const int64_t rows = x.dim(0), dim = x.dim(1);
  expect(y, dtype, {rows, dim}, "RmsNorm y");
  expect(inv_rms, dtype, {rows}, "RmsNorm inv_rms");
  expect(gain, dtype, {dim}, "RmsNorm gain");
  const Timed timed(queue, "RmsNorm forward", 0, y, x);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::rmsnorm_forward(y.as<T>(), inv_rms.as<T>(), x.as<T>(), gain.as<T>(), rows, dim, eps);
    });
  const RmsNormLoops& loops = MEMRING_LOOPS(queue, rmsnorm_loops);
  float *const to = y.as<float>(), *const inv = inv_rms.as<float>();
  const float *const from = x.as<float>(), *const g = gain.as<float>();
  parallel_ranges(threads_for(queue, rows * dim), rows, [&](int64_t begin, int64_t end, int) {
    loops.forward(to + begin * dim, inv + begin, from + begin * dim, g, end - begin, dim, static_cast<float>(eps));
  });
}

void RmsNorm::backward(Queue& queue, View<> dx, Write write, View<> dgain, ConstView<> dy, ConstView<> x,
                       ConstView<> gain, ConstView<> inv_rms) {
  const DType dtype = expect_float(x, 2, "RmsNorm x");
  const int64_t rows = x.dim(0), dim = x.dim(1);
  expect(dx, dtype, {rows, dim}, "RmsNorm dx");
  expect_sums(dgain, dtype, {dim}, "RmsNorm dgain");
  expect(dy, dtype, {rows, dim}, "RmsNorm dy");
  expect(gain, dtype, {dim}, "RmsNorm gain");
  expect(inv_rms, dtype, {rows}, "RmsNorm inv_rms");
  const Timed timed(queue, "RmsNorm backward", 0, dx, dy, x);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      add_rows<T>(queue, dgain, rows, 0, [&](T* terms, int64_t begin, int64_t count) {
        const int64_t at = begin * dim;
        reference::rmsnorm_backward(dx.as<T>() + at, write, terms, dy.as<T>() + at, x.as<T>() + at, gain.as<T>(),
                                    inv_rms.as<T>() + begin, count, dim);
      });
    });
  backward_fp32(queue, dx.as<float>(), write, dgain, dy.as<float>(), x.as<float>(), gain.as<float>(),
                inv_rms.as<float>(), rows, dim);
}

}  // namespace memring
