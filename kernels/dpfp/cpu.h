// Feature map: the fast path. Private to kernels/dpfp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring::cpu {

void dpfp_forward(const Queue&, float* phi, const float* x, int64_t rows, int64_t key_dim, int64_t nu);
void dpfp_backward(const Queue&, float* dx, const float* d_phi, const float* x, int64_t rows, int64_t key_dim,
                   int64_t nu);

}  // namespace memring::cpu
