// Gated linear unit: checks, and a device's kernels or the operators that it is made of on the host. Those choose
// between reference and fast path, so there is neither cpu.cpp nor ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_unit/gated_unit.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/gated_unit/cuda.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {
namespace {

struct Extents {
  DType dtype;
  int64_t rows, dim, ffn;
  double flops() const { return 4.0 * static_cast<double>(rows * dim * ffn); }  // of both products

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
  const Extents e = Extents::of(parts, x, weights);
  if (queue.device()) {
    const Timed timed(queue, "GatedUnit products", e.flops(), parts.gate, parts.up, x);
    return gated_unit_cuda->products(queue, parts, x, weights, scratch);
  }
  LinearLayer::forward(queue, parts.gate, Write::Overwrite, x, weights.gate, scratch);
  LinearLayer::forward(queue, parts.up, Write::Overwrite, x, weights.up, scratch);
}

void GatedUnit::forward(Queue& queue, View<> y, const Parts& parts, ConstView<> x, const Weights& weights,
                        Arena& scratch) {
  const Extents e = Extents::of(parts, x, weights);
  expect(y, e.dtype, {e.rows, e.ffn}, "GatedUnit y");
  if (queue.device()) {
    const Timed timed(queue, "GatedUnit forward", e.flops(), y, parts.gate, parts.up, x);
    return gated_unit_cuda->forward(queue, y, parts, x, weights, scratch);
  }
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
  if (queue.device()) {
    const Timed timed(queue, "GatedUnit backward", 2 * e.flops(), dx, y, parts.gate, parts.up, x);
    return gated_unit_cuda->backward(queue, dx, d_weights, y, parts, x, weights, scratch);
  }
  const View<> d_gate = parts.gate, d_up = parts.up;
  SwiGlu::backward(queue, d_gate, d_up, y, y, parts.gate, parts.up);
  LinearLayer::weight_gradients(queue, d_weights.gate, d_gate, x, weights.gate, scratch);
  LinearLayer::weight_gradients(queue, d_weights.up, d_up, x, weights.up, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Overwrite, d_gate, weights.gate, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Accumulate, d_up, weights.up, scratch);
}

}  // namespace memring
