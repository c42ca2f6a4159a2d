// AdamW, reference: the formulas of adamw.h.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/ref.h"

#include <cmath>

namespace memring::reference {

template <class T>
void adamw_step(T* w, T* m, T* v, const T* grad, int64_t count, const AdamW::Settings& s) {
  const auto t = static_cast<double>(s.step);
  const T lr = static_cast<T>(s.lr), eps = static_cast<T>(s.eps), decay = static_cast<T>(s.weight_decay);
  const T beta1 = static_cast<T>(s.beta1), beta2 = static_cast<T>(s.beta2);
  const T rest1 = static_cast<T>(1 - s.beta1), rest2 = static_cast<T>(1 - s.beta2);
  const T correction1 = static_cast<T>(1 - std::pow(s.beta1, t)),
          correction2 = static_cast<T>(1 - std::pow(s.beta2, t));
  for (int64_t i = 0; i < count; ++i) {
    const T g = grad[i] * static_cast<T>(s.grad_scale);
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    w[i] -= lr * (m[i] / correction1 / (std::sqrt(v[i] / correction2) + eps) + decay * w[i]);
  }
}

template void adamw_step(float*, float*, float*, const float*, int64_t, const AdamW::Settings&);
template void adamw_step(double*, double*, double*, const double*, int64_t, const AdamW::Settings&);

}  // namespace memring::reference
