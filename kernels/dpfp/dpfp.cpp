// Feature map: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/dpfp.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/wide.h"
#include "kernels/dpfp/cpu.h"
#include "kernels/dpfp/cuda.h"
#include "kernels/dpfp/ref.h"

namespace memring {
namespace {

struct Extents {
  int64_t rows, key_dim;
};

Extents extents_of(ConstView<> x, ConstView<> phi, int64_t nu, const char* what) {
  const DType dtype = expect_stored(x, 2, "Dpfp x");
  const Extents e{x.dim(0), x.dim(1)};
  expect(phi, dtype, {e.rows, 2 * nu * e.key_dim}, what);
  return e;
}

}  // namespace

void Dpfp::forward(Queue& queue, View<> phi, ConstView<> x, int64_t nu) {
  const Extents e = extents_of(x, phi, nu, "Dpfp phi");
  if (!queue.device() && x.dtype() == DType::BF16) return wide<&Dpfp::forward>(queue, phi, x, nu);
  const Timed timed(queue, "Dpfp forward", 0, phi, x);
  if (queue.device()) return dpfp_cuda->forward(queue, phi, x, nu);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(),
                         [&]<class T>() { reference::dpfp_forward(phi.as<T>(), x.as<T>(), e.rows, e.key_dim, nu); });
  cpu::dpfp_forward(queue, phi.as<float>(), x.as<float>(), e.rows, e.key_dim, nu);
}

void Dpfp::backward(Queue& queue, View<> dx, ConstView<> d_phi, ConstView<> x, int64_t nu) {
  const Extents e = extents_of(x, d_phi, nu, "Dpfp d_phi");
  expect(dx, x.dtype(), x.shape(), "Dpfp dx");
  if (!queue.device() && x.dtype() == DType::BF16) return wide<&Dpfp::backward>(queue, dx, d_phi, x, nu);
  const Timed timed(queue, "Dpfp backward", 0, dx, d_phi, x);
  if (queue.device()) return dpfp_cuda->backward(queue, dx, d_phi, x, nu);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(), [&]<class T>() {
      reference::dpfp_backward(dx.as<T>(), d_phi.as<T>(), x.as<T>(), e.rows, e.key_dim, nu);
    });
  cpu::dpfp_backward(queue, dx.as<float>(), d_phi.as<float>(), x.as<float>(), e.rows, e.key_dim, nu);
}

}  // namespace memring
