// AdamW: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/adamw.h"

#include <cmath>

#include "base/profile.h"
#include "kernels/adamw/loops.h"
#include "kernels/adamw/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"

namespace memring {
namespace {

AdamWFactors factors_of(const AdamW::Settings& s) {
  const auto t = static_cast<double>(s.step);
  auto f = [](double value) { return static_cast<float>(value); };
  return {.lr = f(s.lr),
          .beta1 = f(s.beta1),
          .rest1 = f(1 - s.beta1),
          .correction1 = f(1 / (1 - std::pow(s.beta1, t))),
          .beta2 = f(s.beta2),
          .rest2 = f(1 - s.beta2),
          .correction2 = f(1 / (1 - std::pow(s.beta2, t))),
          .eps = f(s.eps),
          .decay = f(s.weight_decay),
          .grad_scale = f(s.grad_scale)};
}

}  // namespace

void AdamW::step(Queue& queue, View<> w, View<> m, View<> v, ConstView<> grad, const Settings& settings) {
  const DType dtype = expect_float(w, 1, "AdamW w");
  expect(m, dtype, w.shape(), "AdamW m");
  expect(v, dtype, w.shape(), "AdamW v");
  expect(grad, dtype, w.shape(), "AdamW grad");
  check(settings.step >= 1, fmt::format("AdamW counts steps from 1, found {}", settings.step));
  const Timed timed(queue, "AdamW step", 0, w, m, v, grad, w, m, v);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::adamw_step(w.as<T>(), m.as<T>(), v.as<T>(), grad.as<T>(), w.size(), settings);
    });
  const AdamWLoops& loops = MEMRING_LOOPS(queue, adamw_loops);
  const AdamWFactors factors = factors_of(settings);
  float *const weights = w.as<float>(), *const first = m.as<float>(), *const second = v.as<float>();
  const float* const gradient = grad.as<float>();
  parallel_flat(queue, w.size(), [&](int64_t begin, int64_t end) {
    loops.step(weights + begin, first + begin, second + begin, gradient + begin, end - begin, factors);
  });
}

}  // namespace memring
