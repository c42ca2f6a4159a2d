// Linear layer: the fast path. Private to kernels/linear.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring::cpu {

void linear_forward(const Queue&, float* y, Write, const float* x, const float* w, int64_t rows, int64_t in,
                    int64_t out);
void linear_input_gradient(const Queue&, float* dx, Write, const float* dy, const float* w, int64_t rows, int64_t in,
                           int64_t out);
// dw [out, in] of fp32 or exact sums
void linear_weight_gradient(Queue&, View<> dw, const float* dy, const float* x, int64_t rows, int64_t in, int64_t out);

}  // namespace memring::cpu
