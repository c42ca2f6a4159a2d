// Rotary position embedding: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/rope.h"

#include "base/error.h"
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/wide.h"
#include "kernels/rope/cpu.h"
#include "kernels/rope/cuda.h"
#include "kernels/rope/ref.h"

namespace memring {
namespace {

/// Checks `by_head` [batch, heads, rows, head_dim], `by_row` [batch * rows, heads * head_dim] and the tables.
RopeExtents extents_of(ConstView<> by_head, ConstView<> by_row, ConstView<> cos, ConstView<> sin) {
  const DType dtype = expect_stored(by_head, 4, "Rope head-major view");
  expect_float(cos, 3, "Rope cos");
  const RopeExtents e{by_head.dim(0), by_head.dim(1), by_head.dim(2), by_head.dim(3) / 2, cos.dim(0)};
  if (by_head.dim(3) % 2 != 0) throw ShapeError(fmt::format("Rope: head_dim must be even, found {}", by_head.text()));
  expect(by_row, dtype, {e.batch * e.rows, e.heads * 2 * e.half}, "Rope row-major view");
  if (e.tables != 1 && e.tables != e.batch)
    throw ShapeError(fmt::format("Rope: tables for {} sequences, of {}", e.tables, e.batch));
  expect(cos, sums_type(dtype), {e.tables, e.rows, e.half}, "Rope cos");
  expect(sin, sums_type(dtype), {e.tables, e.rows, e.half}, "Rope sin");
  return e;
}

}  // namespace

void Rope::table(Queue& queue, View<> cos, View<> sin, const TokenIds& positions, ConstView<double> inverse,
                 double factor) {
  const DType dtype = expect_float(cos, 3, "Rope cos");
  const int64_t rows = cos.dim(0) * cos.dim(1), half = cos.dim(2);
  expect(sin, dtype, cos.shape(), "Rope sin");
  expect(positions.ids, DType::I32, {rows}, "Rope positions");
  expect(inverse, DType::F64, {half}, "Rope inverse");
  const Timed timed(queue, "Rope table", 0, cos, sin);
  if (queue.device()) return rope_cuda->table(queue, cos, sin, positions, inverse, factor);
  const std::span<const double> frequencies(inverse.as<double>(), static_cast<size_t>(half));
  constexpr int64_t kWork = 32;  // of a cosine and a sine, beside that of moving a number
  const int threads = queue.reference(dtype) ? 1 : threads_for(queue, rows * half * kWork);
  by_float_type(dtype, [&]<class T>() {
    parallel_ranges(threads, rows, [&](int64_t begin, int64_t end, int) {
      reference::rope_table(cos.as<T>() + begin * half, sin.as<T>() + begin * half,
                            positions.host.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                            frequencies, factor);
    });
  });
}

void Rope::forward(Queue& queue, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin) {
  const RopeExtents e = extents_of(out, in, cos, sin);
  if (!queue.device() && in.dtype() == DType::BF16) return wide<&Rope::forward>(queue, out, in, cos, sin);
  const Timed timed(queue, "Rope forward", 0, out, in);
  if (queue.device()) return rope_cuda->forward(queue, out, in, cos, sin);
  if (queue.reference(out.dtype()))
    return by_float_type(
        out.dtype(), [&]<class T>() { reference::rope_forward(out.as<T>(), in.as<T>(), cos.as<T>(), sin.as<T>(), e); });
  cpu::rope_forward(queue, out.as<float>(), in.as<float>(), cos.as<float>(), sin.as<float>(), e);
}

void Rope::backward(Queue& queue, View<> d_in, ConstView<> d_out, ConstView<> cos, ConstView<> sin) {
  const RopeExtents e = extents_of(d_out, d_in, cos, sin);
  if (!queue.device() && d_out.dtype() == DType::BF16) return wide<&Rope::backward>(queue, d_in, d_out, cos, sin);
  const Timed timed(queue, "Rope backward", 0, d_in, d_out);
  if (queue.device()) return rope_cuda->backward(queue, d_in, d_out, cos, sin);
  if (queue.reference(d_in.dtype()))
    return by_float_type(d_in.dtype(), [&]<class T>() {
      reference::rope_backward(d_in.as<T>(), d_out.as<T>(), cos.as<T>(), sin.as<T>(), e);
    });
  cpu::rope_backward(queue, d_in.as<float>(), d_out.as<float>(), cos.as<float>(), sin.as<float>(), e);
}

}  // namespace memring
