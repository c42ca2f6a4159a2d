// Rotary position embedding: the fast path. Private to kernels/rope.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/rope/operands.h"

namespace memring::cpu {

void rope_forward(const Queue&, float* out, const float* in, const float* cos, const float* sin, RopeExtents);
void rope_backward(const Queue&, float* d_in, const float* d_out, const float* cos, const float* sin, RopeExtents);

}  // namespace memring::cpu
