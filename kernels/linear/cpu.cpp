// Linear layer: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/ref.h"

namespace memring {
namespace {

struct Extents {
  int64_t rows, in, out;
  double flops() const { return 2.0 * static_cast<double>(rows * in * out); }
};

/// Checks x [rows, in], w [out, in], y [rows, out], or the gradients in their places (that of w may be exact sums).
Extents extents_of(ConstView<> x, ConstView<> w, ConstView<> y, const char* x_name, const char* w_name,
                   const char* y_name) {
  const DType dtype = expect_float(x, 2, x_name);
  if (w.dtype() != DType::Exact) expect_float(w, 2, w_name);
  const Extents e{x.dim(0), x.dim(1), w.dim(0)};
  expect_sums(w, dtype, {e.out, e.in}, w_name);
  expect(y, dtype, {e.rows, e.out}, y_name);
  return e;
}

}  // namespace

void Linear::forward(Queue& queue, View<> y, Write write, ConstView<> x, ConstView<> w) {
  const Extents e = extents_of(x, w, y, "Linear x", "Linear w", "Linear y");
  const Timed timed(queue, "Linear forward", e.flops(), x, w, y);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(), [&]<class T>() {
      in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
        reference::linear_forward(y.as<T>() + begin * e.out, write, x.as<T>() + begin * e.in, w.as<T>(), count, e.in,
                                  e.out, queue.products());
      });
    });
  row_product(queue, Transpose::Yes, e.rows, e.out, e.in, x.as<float>(), w.as<float>(), e.in, write, y.as<float>());
  queue.poll();
}

void Linear::input_gradient(Queue& queue, View<> dx, Write write, ConstView<> dy, ConstView<> w) {
  const Extents e = extents_of(dx, w, dy, "Linear dx", "Linear w", "Linear dy");
  const Timed timed(queue, "Linear input gradient", e.flops(), dx, w, dy);
  if (queue.reference(dx.dtype()))
    return by_float_type(dx.dtype(), [&]<class T>() {
      in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
        reference::linear_input_gradient(dx.as<T>() + begin * e.in, write, dy.as<T>() + begin * e.out, w.as<T>(), count,
                                         e.in, e.out, queue.products());
      });
    });
  row_product(queue, Transpose::No, e.rows, e.in, e.out, dy.as<float>(), w.as<float>(), e.in, write, dx.as<float>());
  queue.poll();
}

void Linear::weight_gradient(Queue& queue, View<> dw, ConstView<> dy, ConstView<> x) {
  const Extents e = extents_of(x, dw, dy, "Linear x", "Linear dw", "Linear dy");
  const Timed timed(queue, "Linear weight gradient", e.flops(), x, dw, dy);
  if (queue.reference(x.dtype()))
    return by_float_type(x.dtype(), [&]<class T>() {
      add_rows<T>(queue, dw, e.rows, 0, [&](T* terms, int64_t begin, int64_t count) {
        in_pieces(queue, count, [&](int64_t piece, int64_t piece_rows) {
          const int64_t at = begin + piece;
          reference::linear_weight_gradient(terms, dy.as<T>() + at * e.out, x.as<T>() + at * e.in, piece_rows, e.in,
                                            e.out, queue.products());
        });
      });
    });
  sum_row_products(queue, e.out, e.in, e.rows, dy.as<float>(), x.as<float>(), Write::Accumulate, dw);
  queue.poll();
}

}  // namespace memring
