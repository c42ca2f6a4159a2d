// Gated activation: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/swiglu/loops.h"
#include "kernels/swiglu/ref.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {

void SwiGlu::forward(Queue& queue, View<> y, ConstView<> gate, ConstView<> up) {
  const DType dtype = expect_float(gate, 2, "SwiGlu gate");
  expect(up, dtype, gate.shape(), "SwiGlu up");
  expect(y, dtype, gate.shape(), "SwiGlu y");
  const Timed timed(queue, "SwiGlu forward", 0, y, gate, up);
  if (queue.reference(dtype))
    return by_float_type(
        dtype, [&]<class T>() { reference::swiglu_forward(y.as<T>(), gate.as<T>(), up.as<T>(), gate.size()); });
  const SwiGluLoops& loops = MEMRING_LOOPS(queue, swiglu_loops);
  float* const to = y.as<float>();
  const float *const g = gate.as<float>(), *const u = up.as<float>();
  parallel_flat(queue, gate.size(),
                [&](int64_t begin, int64_t end) { loops.forward(to + begin, g + begin, u + begin, end - begin); });
}

void SwiGlu::backward(Queue& queue, View<> d_gate, View<> d_up, View<> y, ConstView<> dy, ConstView<> gate,
                      ConstView<> up) {
  const DType dtype = expect_float(gate, 2, "SwiGlu gate");
  expect(up, dtype, gate.shape(), "SwiGlu up");
  expect(dy, dtype, gate.shape(), "SwiGlu dy");
  expect(d_gate, dtype, gate.shape(), "SwiGlu d_gate");
  expect(d_up, dtype, gate.shape(), "SwiGlu d_up");
  expect(y, dtype, gate.shape(), "SwiGlu y");
  const Timed timed(queue, "SwiGlu backward", 0, d_gate, d_up, y, dy, gate, up);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::swiglu_backward(d_gate.as<T>(), d_up.as<T>(), y.as<T>(), dy.as<T>(), gate.as<T>(), up.as<T>(),
                                 gate.size());
    });
  const SwiGluLoops& loops = MEMRING_LOOPS(queue, swiglu_loops);
  float *const to_gate = d_gate.as<float>(), *const to_up = d_up.as<float>(), *const to_y = y.as<float>();
  const float *const d = dy.as<float>(), *const g = gate.as<float>(), *const u = up.as<float>();
  parallel_flat(queue, gate.size(), [&](int64_t begin, int64_t end) {
    loops.backward(to_gate + begin, to_up + begin, to_y + begin, d + begin, g + begin, u + begin, end - begin);
  });
}

}  // namespace memring
