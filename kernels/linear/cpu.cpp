// Linear layer: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/cpu.h"

#include "kernels/common/row_products.h"

namespace memring::cpu {

void linear_forward(const Queue& queue, float* y, Write write, const float* x, const float* w, int64_t rows, int64_t in,
                    int64_t out) {
  row_product(queue, Transpose::Yes, rows, out, in, x, w, in, write, y);
  queue.poll();
}

void linear_input_gradient(const Queue& queue, float* dx, Write write, const float* dy, const float* w, int64_t rows,
                           int64_t in, int64_t out) {
  row_product(queue, Transpose::No, rows, in, out, dy, w, in, write, dx);
  queue.poll();
}

void linear_weight_gradient(Queue& queue, View<> dw, const float* dy, const float* x, int64_t rows, int64_t in,
                            int64_t out) {
  sum_row_products(queue, out, in, rows, dy, x, Write::Accumulate, dw);
  queue.poll();
}

}  // namespace memring::cpu
