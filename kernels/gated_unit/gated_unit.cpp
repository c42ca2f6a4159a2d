// Gated linear unit: the operators that it is made of. Those check, and choose between reference and fast path, so
// there is neither cpu.cpp nor ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_unit/gated_unit.h"

#include "kernels/swiglu/swiglu.h"

namespace memring {

void GatedUnit::products(Queue& queue, const Parts& parts, ConstView<> x, const Weights& weights, Arena& scratch) {
  LinearLayer::forward(queue, parts.gate, Write::Overwrite, x, weights.gate, scratch);
  LinearLayer::forward(queue, parts.up, Write::Overwrite, x, weights.up, scratch);
}

void GatedUnit::forward(Queue& queue, View<> y, const Parts& parts, ConstView<> x, const Weights& weights,
                        Arena& scratch) {
  products(queue, parts, x, weights, scratch);
  SwiGlu::forward(queue, y, parts.gate, parts.up);
}

void GatedUnit::backward(Queue& queue, View<> dx, const Gradients& d_weights, View<> y, const Parts& parts,
                         ConstView<> x, const Weights& weights, Arena& scratch) {
  const View<> d_gate = parts.gate, d_up = parts.up;
  SwiGlu::backward(queue, d_gate, d_up, y, y, parts.gate, parts.up);
  LinearLayer::weight_gradients(queue, d_weights.gate, d_gate, x, weights.gate, scratch);
  LinearLayer::weight_gradients(queue, d_weights.up, d_up, x, weights.up, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Overwrite, d_gate, weights.gate, scratch);
  LinearLayer::input_gradient(queue, dx, Write::Accumulate, d_up, weights.up, scratch);
}

}  // namespace memring
