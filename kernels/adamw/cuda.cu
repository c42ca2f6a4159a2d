// AdamW on a device: one pass over a shard.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/cuda.h"

#include <lane.h>
#include <launch.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

/// What a step needs, in the precision of the numbers: rest = 1 - beta, correction = 1 / (1 - beta^t).
template <class T>
struct Factors {
  T lr, beta1, rest1, correction1, beta2, rest2, correction2, eps, decay, grad_scale;
};

/// Where weights begin to decay and where they end to, in turn. (A kernel's arguments may take 4 KiB.)
struct Turns {
  static constexpr int kMost = 2 * 200;
  int32_t count = 0;
  int64_t at[kMost];

  MEMRING_LANE bool decays(int64_t i) const {
    int before = 0;  // turns at or before i: found by halves
    for (int step = 512; step > 0; step /= 2)
      if (before + step <= count && at[before + step - 1] <= i) before += step;
    return before % 2 == 1;
  }
};
static_assert(Turns::kMost < 1024 && sizeof(Turns) < 3800);

/// Of weights begin to end - 1.
template <class T>
MEMRING_KERNEL void adamw_step(T* w, Bf16* working, T* m, T* v, const T* grad, int64_t begin, int64_t end, Turns turns,
                               Factors<T> f) {
  for (int64_t i = begin + grid_index(); i < end; i += grid_threads()) {
    const T g = grad[i] * f.grad_scale;
    const T first = f.beta1 * m[i] + f.rest1 * g, second = f.beta2 * v[i] + f.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    const T decay = turns.decays(i) ? f.decay : 0;
    const T after = w[i] - f.lr * (first * f.correction1 / (root(second * f.correction2) + f.eps) + decay * w[i]);
    w[i] = after;
    if (working) store(working[i], static_cast<float>(after));
  }
}

void step(Queue& queue, View<> w, View<> working, View<> m, View<> v, ConstView<> grad, std::span<const Range> decayed,
          const AdamW::Settings& s) {
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
    int64_t begin = 0;
    do {  // a launch for as many ranges as it has room for, up to where the next begins
      const auto ranges = decayed.first(std::min<size_t>(decayed.size(), Turns::kMost / 2));
      decayed = decayed.subspan(ranges.size());
      Turns turns;
      for (const Range& range : ranges) {
        turns.at[turns.count++] = range.begin;
        turns.at[turns.count++] = range.end;
      }
      const int64_t end = decayed.empty() ? w.size() : decayed[0].begin;
      launch<adamw_step<T>>(queue, grid_for(end - begin), address<T>(w), working ? address<Bf16>(working) : nullptr,
                            address<T>(m), address<T>(v), address<T>(grad), begin, end, turns, factors);
      begin = end;
    } while (!decayed.empty());
  });
}

const AdamWKernels kernels{step};

}  // namespace

const AdamWKernels* const adamw_cuda = &kernels;

}  // namespace memring
