// AdamW: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

/// What a step needs, in the precision of the loop: rest = 1 - beta, correction = 1 / (1 - beta^t), decay =
/// weight_decay.
struct AdamWFactors {
  float lr, beta1, rest1, correction1, beta2, rest2, correction2, eps, decay, grad_scale;
};

struct AdamWLoops {
  void (*step)(float* w, float* m, float* v, const float* grad, int64_t count, const AdamWFactors&);
};
MEMRING_DECLARE_LOOPS(AdamWLoops, adamw_loops)

}  // namespace memring
