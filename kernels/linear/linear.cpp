// Linear layer: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/common/wide.h"
#include "kernels/linear/cpu.h"
#include "kernels/linear/cuda.h"
#include "kernels/linear/ref.h"

namespace memring {
namespace {

struct Extents {
  int64_t rows, in, out;
  double flops() const { return 2.0 * static_cast<double>(rows * in * out); }
};

// The references, in pieces.

template <class T>
void reference_forward(const Queue& queue, T* y, Write write, const T* x, const T* w, Extents e) {
  in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
    reference::linear_forward(y + begin * e.out, write, x + begin * e.in, w, count, e.in, e.out, queue.products());
  });
}

template <class T>
void reference_input_gradient(const Queue& queue, T* dx, Write write, const T* dy, const T* w, Extents e) {
  in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
    reference::linear_input_gradient(dx + begin * e.in, write, dy + begin * e.out, w, count, e.in, e.out,
                                     queue.products());
  });
}

template <class T>
void reference_weight_gradient(Queue& queue, View<> dw, const T* dy, const T* x, Extents e) {
  add_rows<T>(queue, dw, e.rows, 0, [&](T* terms, int64_t begin, int64_t count) {
    in_pieces(queue, count, [&](int64_t piece, int64_t rows) {
      const int64_t at = begin + piece;
      reference::linear_weight_gradient(terms, dy + at * e.out, x + at * e.in, rows, e.in, e.out, queue.products());
    });
  });
}

}  // namespace

void Linear::forward(Queue& queue, View<> y, Write write, ConstView<> x, ConstView<> w) {
  const DType dtype = expect_stored(x, 2, "Linear x");
  const Extents e{x.dim(0), x.dim(1), w.dim(0)};
  expect(w, dtype, {e.out, e.in}, "Linear w");
  expect_stored_or_sums(y, dtype, {e.rows, e.out}, "Linear y");
  if (!queue.device() && dtype == DType::BF16) return wide<&Linear::forward>(queue, y, write, x, w);
  const Timed timed(queue, "Linear forward", e.flops(), x, w, y);
  if (queue.device()) return linear_cuda->forward(queue, y, write, x, w);
  if (queue.reference(dtype))
    return by_float_type(dtype,
                         [&]<class T>() { reference_forward(queue, y.as<T>(), write, x.as<T>(), w.as<T>(), e); });
  cpu::linear_forward(queue, y.as<float>(), write, x.as<float>(), w.as<float>(), e.rows, e.in, e.out);
}

void Linear::input_gradient(Queue& queue, View<> dx, Write write, ConstView<> dy, ConstView<> w) {
  const DType dtype = expect_stored(dy, 2, "Linear dy");
  const Extents e{dy.dim(0), w.dim(1), dy.dim(1)};
  expect(w, dtype, {e.out, e.in}, "Linear w");
  expect_stored_or_sums(dx, dtype, {e.rows, e.in}, "Linear dx");
  if (!queue.device() && dtype == DType::BF16) return wide<&Linear::input_gradient>(queue, dx, write, dy, w);
  const Timed timed(queue, "Linear input gradient", e.flops(), dx, w, dy);
  if (queue.device()) return linear_cuda->input_gradient(queue, dx, write, dy, w);
  if (queue.reference(dtype))
    return by_float_type(
        dtype, [&]<class T>() { reference_input_gradient(queue, dx.as<T>(), write, dy.as<T>(), w.as<T>(), e); });
  cpu::linear_input_gradient(queue, dx.as<float>(), write, dy.as<float>(), w.as<float>(), e.rows, e.in, e.out);
}

void Linear::weight_gradient(Queue& queue, View<> dw, ConstView<> dy, ConstView<> x) {
  const DType dtype = expect_stored(x, 2, "Linear x");
  const Extents e{x.dim(0), x.dim(1), dy.dim(1)};
  expect(dy, dtype, {e.rows, e.out}, "Linear dy");
  if (!dw) return;
  expect_sums(dw, dtype, {e.out, e.in}, "Linear dw");
  if (!queue.device() && dtype == DType::BF16) return wide<&Linear::weight_gradient>(queue, dw, dy, x);
  const Timed timed(queue, "Linear weight gradient", e.flops(), x, dw, dy);
  if (queue.device()) return linear_cuda->weight_gradient(queue, dw, dy, x);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() { reference_weight_gradient(queue, dw, dy.as<T>(), x.as<T>(), e); });
  cpu::linear_weight_gradient(queue, dw, dy.as<float>(), x.as<float>(), e.rows, e.in, e.out);
}

ProductCopies Linear::copies(int64_t rows, int64_t in, int64_t out, bool backward) {
  const ProductCopies forward = ProductCopies::of(rows, out, in);
  if (!backward) return forward;
  return forward | ProductCopies::of(rows, in, out) | ProductCopies::of(out, in, rows);
}

}  // namespace memring
