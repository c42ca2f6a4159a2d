// Feature map: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "base/profile.h"
#include "kernels/associative/associative.h"
#include "kernels/associative/loops.h"
#include "kernels/associative/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"

namespace memring {
namespace {

struct Extents {
  int64_t rows, key_dim, features;
};

Extents extents_of(ConstView<> x, ConstView<> phi, int64_t nu, const char* what) {
  const DType dtype = expect_float(x, 2, "Dpfp x");
  const Extents e{x.dim(0), x.dim(1), 2 * nu * x.dim(1)};
  expect(phi, dtype, {e.rows, e.features}, what);
  return e;
}

/// body(row, scratch of 4 key_dim numbers) for each row.
template <class Body>
void for_rows(const Queue& queue, const Extents& e, const Body& body) {
  parallel_ranges(threads_for(queue, e.rows * e.features), e.rows, [&](int64_t begin, int64_t end, int) {
    std::vector<float> u(static_cast<size_t>(4 * e.key_dim));
    for (int64_t r = begin; r < end; ++r) body(r, u.data());
  });
}

}  // namespace

void Dpfp::forward(Queue& queue, View<> phi, ConstView<> x, int64_t nu) {
  const Extents e = extents_of(x, phi, nu, "Dpfp phi");
  const Timed timed(queue, "Dpfp forward", 0, phi, x);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(),
                         [&]<class T>() { reference::dpfp_forward(phi.as<T>(), x.as<T>(), e.rows, e.key_dim, nu); });
  const AssociativeLoops& loops = MEMRING_LOOPS(queue, associative_loops);
  float* const to = phi.as<float>();
  const float* const from = x.as<float>();
  for_rows(queue, e,
           [&](int64_t r, float* u) { loops.features(to + r * e.features, from + r * e.key_dim, u, e.key_dim, nu); });
}

void Dpfp::backward(Queue& queue, View<> dx, ConstView<> d_phi, ConstView<> x, int64_t nu) {
  const Extents e = extents_of(x, d_phi, nu, "Dpfp d_phi");
  expect(dx, x.dtype(), x.shape(), "Dpfp dx");
  const Timed timed(queue, "Dpfp backward", 0, dx, d_phi, x);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(), [&]<class T>() {
      reference::dpfp_backward(dx.as<T>(), d_phi.as<T>(), x.as<T>(), e.rows, e.key_dim, nu);
    });
  const AssociativeLoops& loops = MEMRING_LOOPS(queue, associative_loops);
  float* const to = dx.as<float>();
  const float *const d = d_phi.as<float>(), *const from = x.as<float>();
  for_rows(queue, e, [&](int64_t r, float* u) {
    loops.features_backward(to + r * e.key_dim, d + r * e.features, from + r * e.key_dim, u, e.key_dim, nu);
  });
}

}  // namespace memring
