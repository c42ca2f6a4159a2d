// Gated activation: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/cpu.h"

#include "kernels/common/dispatch.h"
#include "kernels/swiglu/loops.h"

namespace memring::cpu {

void swiglu_forward(const Queue& queue, float* y, const float* gate, const float* up, int64_t count) {
  const SwiGluLoops& loops = MEMRING_LOOPS(queue, swiglu_loops);
  parallel_flat(queue, count,
                [&](int64_t begin, int64_t end) { loops.forward(y + begin, gate + begin, up + begin, end - begin); });
}

void swiglu_backward(const Queue& queue, float* d_gate, float* d_up, float* y, const float* dy, const float* gate,
                     const float* up, int64_t count) {
  const SwiGluLoops& loops = MEMRING_LOOPS(queue, swiglu_loops);
  parallel_flat(queue, count, [&](int64_t begin, int64_t end) {
    loops.backward(d_gate + begin, d_up + begin, y + begin, dy + begin, gate + begin, up + begin, end - begin);
  });
}

}  // namespace memring::cpu
