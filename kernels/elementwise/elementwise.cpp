// Copy, fill, scaling and residual addition: checks and the choice of backend. There is no cpu.cpp: the fast path is
// the reference's loops on several threads, since memory is the limit and wider instructions gain nothing.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#include "base/error.h"
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/wide.h"
#include "kernels/elementwise/cuda.h"
#include "kernels/elementwise/ref.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {
namespace {

/// Calls body.operator()<T>(begin, end) over [0, size): in one piece for the reference, else split over threads.
template <class Body>
void in_ranges(Queue& queue, DType dtype, int64_t size, const Body& body) {
  by_float_type(dtype, [&]<class T>() {
    if (queue.reference(dtype))
      body.template operator()<T>(0, size);
    else
      parallel_flat(queue, size, [&](int64_t begin, int64_t end) { body.template operator()<T>(begin, end); });
  });
}

}  // namespace

void Elementwise::copy(Queue& queue, View<> y, ConstView<> x) {
  if (either_bf16(x, y) && (x.dtype() == DType::F32 || y.dtype() == DType::F32))
    expect_shape(x, y.shape(), "Elementwise x");
  else
    expect(x, y.dtype(), y.shape(), "Elementwise x");
  if (!queue.device() && either_bf16(y, x)) return wide<&Elementwise::copy>(queue, y, x);
  const Timed timed(queue, "Elementwise copy", 0, y, x);
  if (queue.device()) return elementwise_cuda->copy(queue, y, x);
  in_ranges(queue, y.dtype(), y.size(), [&]<class T>(int64_t begin, int64_t end) {
    reference::copy(y.as<T>() + begin, x.as<T>() + begin, end - begin);
  });
}

void Elementwise::fill(Queue& queue, View<> y, double value) {
  if (y.dtype() == DType::Exact) {
    check(value == 0, "exact sums were filled with a number that is not 0");
    y = y.reinterpreted(DType::F64, {2, y.size()});  // all bits are 0
  }
  if (!queue.device() && y.dtype() == DType::BF16) return wide<&Elementwise::fill>(queue, y, value);
  const Timed timed(queue, "Elementwise fill", 0, y);
  if (queue.device()) return elementwise_cuda->fill(queue, y, value);
  in_ranges(queue, y.dtype(), y.size(), [&]<class T>(int64_t begin, int64_t end) {
    reference::fill(y.as<T>() + begin, static_cast<T>(value), end - begin);
  });
}

void Elementwise::scale(Queue& queue, View<> y, double factor) {
  if (!queue.device() && y.dtype() == DType::BF16) return wide<&Elementwise::scale>(queue, y, factor);
  const Timed timed(queue, "Elementwise scale", 0, y);
  if (queue.device()) return elementwise_cuda->scale(queue, y, factor);
  in_ranges(queue, y.dtype(), y.size(), [&]<class T>(int64_t begin, int64_t end) {
    reference::scale(y.as<T>() + begin, static_cast<T>(factor), end - begin);
  });
}

void Elementwise::add(Queue& queue, View<> y, ConstView<> a, ConstView<> b) {
  if (y.dtype() == DType::Exact || b.dtype() == DType::Exact) {
    check(a.data() == y.data(), "exact sums are added to, and added, in place");
    return y.dtype() == DType::Exact ? ExactSum::add(queue, y, b) : ExactSum::round(queue, y, Write::Accumulate, b);
  }
  expect(a, y.dtype(), y.shape(), "Elementwise a");
  expect(b, y.dtype(), y.shape(), "Elementwise b");
  if (!queue.device() && y.dtype() == DType::BF16) return wide<&Elementwise::add>(queue, y, a, b);
  const Timed timed(queue, "Elementwise add", 0, y, a, b);
  if (queue.device()) return elementwise_cuda->add(queue, y, a, b);
  in_ranges(queue, y.dtype(), y.size(), [&]<class T>(int64_t begin, int64_t end) {
    reference::add(y.as<T>() + begin, a.as<T>() + begin, b.as<T>() + begin, end - begin);
  });
}

}  // namespace memring
