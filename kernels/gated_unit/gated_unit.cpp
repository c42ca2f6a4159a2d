// Gated linear unit: checks, and the operators that it is made of. Those choose the backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_unit/gated_unit.h"

#include "kernels/common/checks.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {
namespace {

struct Extents {
  DType dtype;
  int64_t rows, dim, ffn;

  static Extents of(const GatedUnit::Parts& parts, ConstView<> x, const GatedUnit::Weights& weights) {
    const DType dtype = expect_stored(x, 2, "GatedUnit x");
    expect_stored(parts.gate, 2, "GatedUnit gate");
    const Extents e{dtype, x.dim(0), x.dim(1), parts.gate.dim(1)};
    expect(parts.gate, dtype, {e.rows, e.ffn}, "GatedUnit gate");
    expect(parts.up, dtype, {e.rows, e.ffn}, "GatedUnit up");
    LinearLayer::expect(weights.gate, dtype, e.ffn, e.dim);
    LinearLayer::expect(weights.up, dtype, e.ffn, e.dim);
    return e;
  }
};

}  // namespace

void GatedUnit::products(Queue& queue, const Parts& parts, ConstView<> x, const Weights& weights, Arena& scratch) {
  Extents::of(parts, x, weights);
  LinearLayer::forward(queue, parts.gate, Write::Overwrite, x, weights.gate, scratch);
  LinearLayer::forward(queue, parts.up, Write::Overwrite, x, weights.up, scratch);
}

void GatedUnit::forward(Queue& queue, View<> y, const Parts& parts, ConstView<> x, const Weights& weights,
                        Arena& scratch) {
  const Extents e = Extents::of(parts, x, weights);
  expect(y, e.dtype, {e.rows, e.ffn}, "GatedUnit y");
  products(queue, parts, x, weights, scratch);
  SwiGlu::forward(queue, y, parts.gate, parts.up);
}

void GatedUnit::backward(Queue& queue, View<> dx, const Gradients& d_weights, View<> y, const Parts& parts,
                         ConstView<> x, const Weights& weights, Arena& scratch) {
  const Extents e = Extents::of(parts, x, weights);
  expect(y, e.dtype, {e.rows, e.ffn}, "GatedUnit y");
  expect(dx, e.dtype, x.shape(), "GatedUnit dx");
  LinearLayer::expect(d_weights.gate, weights.gate);
  LinearLayer::expect(d_weights.up, weights.up);
  const View<> d_gate = parts.gate, d_up = parts.up;
  SwiGlu::backward(queue, d_gate, d_up, y, y, parts.gate, parts.up);
  LinearLayer::weight_gradients(queue, d_weights.gate, d_gate, x, weights.gate, scratch);
  LinearLayer::weight_gradients(queue, d_weights.up, d_up, x, weights.up, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Overwrite, d_gate, weights.gate, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Accumulate, d_up, weights.up, scratch);
}

}  // namespace memring
