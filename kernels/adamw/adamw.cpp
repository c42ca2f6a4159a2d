// AdamW: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/adamw.h"

#include "base/error.h"
#include "base/profile.h"
#include "kernels/adamw/cpu.h"
#include "kernels/adamw/cuda.h"
#include "kernels/adamw/ref.h"
#include "kernels/common/checks.h"

namespace memring {

void AdamW::step(Queue& queue, View<> w, View<> m, View<> v, ConstView<> grad, const Settings& settings) {
  const DType dtype = expect_float(w, 1, "AdamW w");
  expect(m, dtype, w.shape(), "AdamW m");
  expect(v, dtype, w.shape(), "AdamW v");
  expect(grad, dtype, w.shape(), "AdamW grad");
  check(settings.step >= 1, fmt::format("AdamW counts steps from 1, found {}", settings.step));
  const Timed timed(queue, "AdamW step", 0, w, m, v, grad, w, m, v);
  if (queue.device()) return adamw_cuda->step(queue, w, m, v, grad, settings);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::adamw_step(w.as<T>(), m.as<T>(), v.as<T>(), grad.as<T>(), w.size(), settings);
    });
  cpu::adamw_step(queue, w.as<float>(), m.as<float>(), v.as<float>(), grad.as<float>(), w.size(), settings);
}

}  // namespace memring
