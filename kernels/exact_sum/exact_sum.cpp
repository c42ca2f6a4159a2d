// Exact sums: checks, the choice of backend, and both: Exact itself is the reference, and only its addition has loops
// of its own. So there is neither cpu.cpp nor ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/exact_sum/exact_sum.h"

#include "base/profile.h"
#include "kernels/common/dispatch.h"
#include "kernels/exact_sum/loops.h"

namespace memring {

void ExactSum::add(Queue& queue, View<> sums, ConstView<> terms) {
  expect(sums, DType::Exact, terms.shape(), "ExactSum sums");
  Exact* const to = sums.as<Exact>();
  if (terms.dtype() == DType::Exact)
    return parallel_flat(queue, terms.size(), [&, from = terms.as<Exact>()](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] += from[i];
    });
  if (queue.reference(terms.dtype()))
    return by_float_type(terms.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < terms.size(); ++i) to[i] += Exact(static_cast<double>(terms.as<T>()[i]));
    });
  const ExactSumLoops& loops = MEMRING_LOOPS(queue, exact_sum_loops);
  const float* const from = terms.as<float>();
  parallel_flat(queue, terms.size(),
                [&](int64_t begin, int64_t end) { loops.add(&to[begin].high, from + begin, end - begin); });
}

void ExactSum::round(Queue& queue, View<> values, Write write, ConstView<> sums) {
  expect(sums, DType::Exact, values.shape(), "ExactSum sums");
  const Timed timed(queue, "ExactSum round", 0, values, sums);
  const Exact* const from = sums.as<Exact>();
  by_float_type(values.dtype(), [&]<class T>() {
    T* const to = values.as<T>();
    parallel_flat(queue, values.size(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T value = static_cast<T>(from[i].value());
        to[i] = write == Write::Accumulate ? to[i] + value : value;
      }
    });
  });
}

}  // namespace memring
