// Gated activation: the fast path. Private to kernels/swiglu.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring::cpu {

void swiglu_forward(const Queue&, float* y, const float* gate, const float* up, int64_t count);
void swiglu_backward(const Queue&, float* d_gate, float* d_up, float* y, const float* dy, const float* gate,
                     const float* up, int64_t count);

}  // namespace memring::cpu
