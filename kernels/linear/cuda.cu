// Linear layer on a device: three products.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/cuda.h"

#include "kernels/cuda/products.h"

namespace memring {
namespace {

void forward(Queue& queue, View<> y, Write write, ConstView<> x, ConstView<> w) {
  matrix_product(queue, y, write, {x}, transposed(w));
}

void input_gradient(Queue& queue, View<> dx, Write write, ConstView<> dy, ConstView<> w) {
  matrix_product(queue, dx, write, {dy}, {w});
}

void weight_gradient(Queue& queue, View<> dw, ConstView<> dy, ConstView<> x) {
  matrix_product(queue, dw, Write::Accumulate, transposed(dy), {x});
}

const LinearKernels kernels{forward, input_gradient, weight_gradient};

}  // namespace

const LinearKernels* const linear_cuda = &kernels;

}  // namespace memring
