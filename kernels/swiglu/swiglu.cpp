// Gated activation: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/swiglu.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/wide.h"
#include "kernels/swiglu/cpu.h"
#include "kernels/swiglu/cuda.h"
#include "kernels/swiglu/ref.h"

namespace memring {

void SwiGlu::forward(Queue& queue, View<> y, ConstView<> gate, ConstView<> up) {
  const DType dtype = expect_stored(gate, 2, "SwiGlu gate");
  expect(up, dtype, gate.shape(), "SwiGlu up");
  expect(y, dtype, gate.shape(), "SwiGlu y");
  if (!queue.device() && dtype == DType::BF16) return wide<&SwiGlu::forward>(queue, y, gate, up);
  const Timed timed(queue, "SwiGlu forward", 0, y, gate, up);
  if (queue.device()) return swiglu_cuda->forward(queue, y, gate, up);
  if (queue.reference(dtype))
    return by_float_type(
        dtype, [&]<class T>() { reference::swiglu_forward(y.as<T>(), gate.as<T>(), up.as<T>(), gate.size()); });
  cpu::swiglu_forward(queue, y.as<float>(), gate.as<float>(), up.as<float>(), gate.size());
}

void SwiGlu::backward(Queue& queue, View<> d_gate, View<> d_up, View<> y, ConstView<> dy, ConstView<> gate,
                      ConstView<> up) {
  const DType dtype = expect_stored(gate, 2, "SwiGlu gate");
  expect(up, dtype, gate.shape(), "SwiGlu up");
  expect(dy, dtype, gate.shape(), "SwiGlu dy");
  expect(d_gate, dtype, gate.shape(), "SwiGlu d_gate");
  expect(d_up, dtype, gate.shape(), "SwiGlu d_up");
  expect(y, dtype, gate.shape(), "SwiGlu y");
  if (!queue.device() && dtype == DType::BF16) return wide<&SwiGlu::backward>(queue, d_gate, d_up, y, dy, gate, up);
  const Timed timed(queue, "SwiGlu backward", 0, d_gate, d_up, y, dy, gate, up);
  if (queue.device()) return swiglu_cuda->backward(queue, d_gate, d_up, y, dy, gate, up);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::swiglu_backward(d_gate.as<T>(), d_up.as<T>(), y.as<T>(), dy.as<T>(), gate.as<T>(), up.as<T>(),
                                 gate.size());
    });
  cpu::swiglu_backward(queue, d_gate.as<float>(), d_up.as<float>(), y.as<float>(), dy.as<float>(), gate.as<float>(),
                       up.as<float>(), gate.size());
}

}  // namespace memring
