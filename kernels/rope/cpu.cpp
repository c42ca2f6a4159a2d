// Rotary position embedding: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/rope/loops.h"
#include "kernels/rope/ref.h"
#include "kernels/rope/rope.h"

namespace memring {
namespace {

using reference::RopeExtents;

/// Checks `by_head` [batch, heads, rows, head_dim], `by_row` [batch * rows, heads * head_dim] and the table.
RopeExtents extents_of(ConstView<> by_head, ConstView<> by_row, ConstView<> cos, ConstView<> sin) {
  const DType dtype = expect_float(by_head, 4, "Rope head-major view");
  const RopeExtents e{by_head.dim(0), by_head.dim(1), by_head.dim(2), by_head.dim(3) / 2};
  if (by_head.dim(3) % 2 != 0) throw ShapeError(fmt::format("Rope: head_dim must be even, found {}", by_head.text()));
  expect(by_row, dtype, {e.batch * e.rows, e.heads * 2 * e.half}, "Rope row-major view");
  expect(cos, dtype, {e.rows, e.half}, "Rope cos");
  expect(sin, dtype, {e.rows, e.half}, "Rope sin");
  return e;
}

/// Calls rotate(by_head offset, by_row offset, table offset) for each row.
template <class Rotate>
void for_rows(const Queue& queue, RopeExtents e, const Rotate& rotate) {
  const int64_t head_dim = 2 * e.half;
  parallel_ranges(threads_for(queue, e.batch * e.heads * e.rows * head_dim), e.batch * e.rows,
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t i = begin; i < end; ++i) {
                      const int64_t b = i / e.rows, r = i % e.rows;
                      rotate((b * e.heads * e.rows + r) * head_dim, i * e.heads * head_dim, r * e.half);
                    }
                  });
}

}  // namespace

void Rope::table(View<> cos, View<> sin, std::span<const Row> rows, double theta) {
  const DType dtype = expect_float(cos, 2, "Rope cos");
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t half = cos.dim(1);
  expect(cos, dtype, {count, half}, "Rope cos");
  expect(sin, dtype, {count, half}, "Rope sin");
  by_float_type(dtype, [&]<class T>() {
    for (int64_t i = 0; i < half; ++i) {
      const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
      for (int64_t r = 0; r < count; ++r) {
        const double angle = rows[static_cast<size_t>(r)].position * frequency;
        cos.as<T>()[r * half + i] = static_cast<T>(std::cos(angle));
        sin.as<T>()[r * half + i] = static_cast<T>(std::sin(angle));
      }
    }
  });
}

void Rope::forward(Queue& queue, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin) {
  const RopeExtents e = extents_of(out, in, cos, sin);
  const Timed timed(queue, "Rope forward", 0, out, in);
  if (queue.reference(out.dtype()))
    return by_float_type(
        out.dtype(), [&]<class T>() { reference::rope_forward(out.as<T>(), in.as<T>(), cos.as<T>(), sin.as<T>(), e); });
  const RopeLoops& loops = MEMRING_LOOPS(queue, rope_loops);
  float* const to = out.as<float>();
  const float *const from = in.as<float>(), *const c = cos.as<float>(), *const s = sin.as<float>();
  for_rows(queue, e, [&](int64_t by_head, int64_t by_row, int64_t table) {
    loops.rotate(to + by_head, e.rows * 2 * e.half, from + by_row, 2 * e.half, c + table, s + table, 1, e.heads,
                 e.half);
  });
}

void Rope::backward(Queue& queue, View<> d_in, ConstView<> d_out, ConstView<> cos, ConstView<> sin) {
  const RopeExtents e = extents_of(d_out, d_in, cos, sin);
  const Timed timed(queue, "Rope backward", 0, d_in, d_out);
  if (queue.reference(d_in.dtype()))
    return by_float_type(d_in.dtype(), [&]<class T>() {
      reference::rope_backward(d_in.as<T>(), d_out.as<T>(), cos.as<T>(), sin.as<T>(), e);
    });
  const RopeLoops& loops = MEMRING_LOOPS(queue, rope_loops);
  float* const to = d_in.as<float>();
  const float *const from = d_out.as<float>(), *const c = cos.as<float>(), *const s = sin.as<float>();
  for_rows(queue, e, [&](int64_t by_head, int64_t by_row, int64_t table) {
    loops.rotate(to + by_row, 2 * e.half, from + by_head, e.rows * 2 * e.half, c + table, s + table, -1, e.heads,
                 e.half);
  });
}

}  // namespace memring
