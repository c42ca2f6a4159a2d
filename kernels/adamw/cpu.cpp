// AdamW: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/cpu.h"

#include <cmath>

#include "kernels/adamw/loops.h"
#include "kernels/common/dispatch.h"

namespace memring::cpu {
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

void adamw_step(const Queue& queue, float* w, float* m, float* v, const float* grad, int64_t count,
                const AdamW::Settings& settings) {
  const AdamWLoops& loops = MEMRING_LOOPS(queue, adamw_loops);
  const AdamWFactors factors = factors_of(settings);
  parallel_flat(queue, count, [&](int64_t begin, int64_t end) {
    loops.step(w + begin, m + begin, v + begin, grad + begin, end - begin, factors);
  });
}

}  // namespace memring::cpu
