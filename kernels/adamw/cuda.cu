// AdamW on a device: one pass over a range.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/cuda.h"

#include <lane.h>
#include <launch.h>

#include <cmath>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

/// What a step needs, in the precision of the numbers: rest = 1 - beta, correction = 1 / (1 - beta^t).
template <class T>
struct Factors {
  T lr, beta1, rest1, correction1, beta2, rest2, correction2, eps, decay, grad_scale;
};

template <class T>
MEMRING_KERNEL void adamw_step(T* w, T* m, T* v, const T* grad, int64_t count, Factors<T> f) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) {
    const T g = grad[i] * f.grad_scale;
    const T first = f.beta1 * m[i] + f.rest1 * g, second = f.beta2 * v[i] + f.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    w[i] -= f.lr * (first * f.correction1 / (root(second * f.correction2) + f.eps) + f.decay * w[i]);
  }
}

void step(Queue& queue, View<> w, View<> m, View<> v, ConstView<> grad, const AdamW::Settings& s) {
  const auto t = static_cast<double>(s.step);
  by_float_type(w.dtype(), [&]<class T>() {
    const auto f = [](double factor) { return static_cast<T>(factor); };
    const Factors<T> factors{f(s.lr),
                             f(s.beta1),
                             f(1 - s.beta1),
                             f(1 / (1 - std::pow(s.beta1, t))),
                             f(s.beta2),
                             f(1 - s.beta2),
                             f(1 / (1 - std::pow(s.beta2, t))),
                             f(s.eps),
                             f(s.weight_decay),
                             f(s.grad_scale)};
    launch<adamw_step<T>>(queue, grid_for(w.size()), address<T>(w), address<T>(m), address<T>(v), address<T>(grad),
                          w.size(), factors);
  });
}

const AdamWKernels kernels{step};

}  // namespace

const AdamWKernels* const adamw_cuda = &kernels;

}  // namespace memring
