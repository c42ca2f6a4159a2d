// Gated activation: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct SwiGluLoops {
  void (*forward)(float* y, const float* gate, const float* up, int64_t count);
  void (*backward)(float* d_gate, float* d_up, float* y, const float* dy, const float* gate, const float* up,
                   int64_t count);
};
MEMRING_DECLARE_LOOPS(SwiGluLoops, swiglu_loops)

}  // namespace memring
