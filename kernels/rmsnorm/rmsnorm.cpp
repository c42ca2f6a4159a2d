// RMSNorm: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/rmsnorm.h"

#include <vector>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/row_products.h"
#include "kernels/common/wide.h"
#include "kernels/rmsnorm/cpu.h"
#include "kernels/rmsnorm/cuda.h"
#include "kernels/rmsnorm/ref.h"

namespace memring {
namespace {

template <class T>
void reference_backward(Queue& queue, T* dx, Write write, View<> dgain, const T* dy, const T* x, const T* gain,
                        const T* inv_rms, int64_t rows, int64_t dim) {
  if (!dgain) {
    std::vector<T> unwanted(static_cast<size_t>(dim));
    return reference::rmsnorm_backward(dx, write, unwanted.data(), dy, x, gain, inv_rms, rows, dim);
  }
  add_rows<T>(queue, dgain, rows, 0, [&](T* terms, int64_t begin, int64_t count) {
    const int64_t at = begin * dim;
    reference::rmsnorm_backward(dx + at, write, terms, dy + at, x + at, gain, inv_rms + begin, count, dim);
  });
}

}  // namespace

void RmsNorm::forward(Queue& queue, View<> y, View<> inv_rms, ConstView<> x, ConstView<> gain, double eps) {
  const DType dtype = expect_stored(x, 2, "RmsNorm x");
  const int64_t rows = x.dim(0), dim = x.dim(1);
  expect(y, dtype, {rows, dim}, "RmsNorm y");
  expect(inv_rms, sums_type(dtype), {rows}, "RmsNorm inv_rms");
  expect(gain, dtype, {dim}, "RmsNorm gain");
  if (!queue.device() && dtype == DType::BF16) return wide<&RmsNorm::forward>(queue, y, inv_rms, x, gain, eps);
  const Timed timed(queue, "RmsNorm forward", 0, y, x);
  if (queue.device()) return rmsnorm_cuda->forward(queue, y, inv_rms, x, gain, eps);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::rmsnorm_forward(y.as<T>(), inv_rms.as<T>(), x.as<T>(), gain.as<T>(), rows, dim, eps);
    });
  cpu::rmsnorm_forward(queue, y.as<float>(), inv_rms.as<float>(), x.as<float>(), gain.as<float>(), rows, dim, eps);
}

void RmsNorm::backward(Queue& queue, View<> dx, Write write, View<> dgain, ConstView<> dy, ConstView<> x,
                       ConstView<> gain, ConstView<> inv_rms) {
  const DType dtype = expect_stored(x, 2, "RmsNorm x");
  const int64_t rows = x.dim(0), dim = x.dim(1);
  expect(dx, dtype, {rows, dim}, "RmsNorm dx");
  if (dgain) expect_sums(dgain, dtype, {dim}, "RmsNorm dgain");
  expect(dy, dtype, {rows, dim}, "RmsNorm dy");
  expect(gain, dtype, {dim}, "RmsNorm gain");
  expect(inv_rms, sums_type(dtype), {rows}, "RmsNorm inv_rms");
  if (!queue.device() && dtype == DType::BF16)
    return wide<&RmsNorm::backward>(queue, dx, write, dgain, dy, x, gain, inv_rms);
  const Timed timed(queue, "RmsNorm backward", 0, dx, dy, x);
  if (queue.device()) return rmsnorm_cuda->backward(queue, dx, write, dgain, dy, x, gain, inv_rms);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference_backward(queue, dx.as<T>(), write, dgain, dy.as<T>(), x.as<T>(), gain.as<T>(), inv_rms.as<T>(), rows,
                         dim);
    });
  cpu::rmsnorm_backward(queue, dx.as<float>(), write, dgain, dy.as<float>(), x.as<float>(), gain.as<float>(),
                        inv_rms.as<float>(), rows, dim);
}

}  // namespace memring
