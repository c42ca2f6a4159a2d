// RMSNorm: the fast path. Private to kernels/rmsnorm.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring::cpu {

void rmsnorm_forward(const Queue&, float* y, float* inv_rms, const float* x, const float* gain, int64_t rows,
                     int64_t dim, double eps);
// dgain [dim] of fp32 or exact sums, or empty
void rmsnorm_backward(Queue&, float* dx, Write, View<> dgain, const float* dy, const float* x, const float* gain,
                      const float* inv_rms, int64_t rows, int64_t dim);

}  // namespace memring::cpu
