// Moves between row-major and head-major layout: checks, choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/heads/heads.h"
#include "kernels/heads/ref.h"

namespace memring {
namespace {

using reference::HeadExtents;

HeadExtents extents_of(ConstView<> by_head, ConstView<> by_row) {
  const DType dtype = expect_float(by_head, 4, "Heads head-major view");
  const HeadExtents e{by_head.dim(0), by_head.dim(1), by_head.dim(2), by_head.dim(3)};
  expect(by_row, dtype, {e.batch * e.rows, e.heads * e.head_dim}, "Heads row-major view");
  return e;
}

/// Calls copy(by_head offset, by_row offset) for each row of each head.
template <class Copy>
void for_pieces(const Queue& queue, HeadExtents e, const Copy& copy) {
  parallel_ranges(threads_for(queue, e.batch * e.heads * e.rows * e.head_dim), e.batch * e.rows,
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t i = begin; i < end; ++i)
                      for (int64_t h = 0; h < e.heads; ++h)
                        copy(((i / e.rows * e.heads + h) * e.rows + i % e.rows) * e.head_dim,
                             (i * e.heads + h) * e.head_dim);
                  });
}

}  // namespace

void Heads::split(Queue& queue, View<> out, ConstView<> in) {
  const HeadExtents e = extents_of(out, in);
  const Timed timed(queue, "Heads split", 0, out, in);
  if (queue.reference(out.dtype()))
    return by_float_type(out.dtype(), [&]<class T>() { reference::heads_split(out.as<T>(), in.as<T>(), e); });
  float* const to = out.as<float>();
  const float* const from = in.as<float>();
  for_pieces(queue, e, [&](int64_t by_head, int64_t by_row) { std::copy_n(from + by_row, e.head_dim, to + by_head); });
}

void Heads::merge(Queue& queue, View<> out, ConstView<> in) {
  const HeadExtents e = extents_of(in, out);
  const Timed timed(queue, "Heads merge", 0, out, in);
  if (queue.reference(out.dtype()))
    return by_float_type(out.dtype(), [&]<class T>() { reference::heads_merge(out.as<T>(), in.as<T>(), e); });
  float* const to = out.as<float>();
  const float* const from = in.as<float>();
  for_pieces(queue, e, [&](int64_t by_head, int64_t by_row) { std::copy_n(from + by_head, e.head_dim, to + by_row); });
}

}  // namespace memring
