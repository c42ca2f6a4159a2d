// Layout change between projections and attention: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/heads.h"

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/wide.h"
#include "kernels/heads/cpu.h"
#include "kernels/heads/cuda.h"
#include "kernels/heads/ref.h"

namespace memring {
namespace {

HeadsExtents extents_of(ConstView<> by_head, ConstView<> by_row) {
  const DType dtype = expect_stored(by_head, 4, "Heads head-major view");
  const HeadsExtents e{by_head.dim(0), by_head.dim(1), by_head.dim(2), by_head.dim(3)};
  expect(by_row, dtype, {e.batch * e.rows, e.heads * e.head_dim}, "Heads row-major view");
  return e;
}

}  // namespace

void Heads::split(Queue& queue, View<> out, ConstView<> in) {
  const HeadsExtents e = extents_of(out, in);
  if (!queue.device() && in.dtype() == DType::BF16) return wide<&Heads::split>(queue, out, in);
  const Timed timed(queue, "Heads split", 0, out, in);
  if (queue.device()) return heads_cuda->split(queue, out, in);
  if (queue.reference(out.dtype()))
    return by_float_type(out.dtype(), [&]<class T>() { reference::heads_split(out.as<T>(), in.as<T>(), e); });
  cpu::heads_split(queue, out.as<float>(), in.as<float>(), e);
}

void Heads::merge(Queue& queue, View<> out, ConstView<> in) {
  const HeadsExtents e = extents_of(in, out);
  if (!queue.device() && in.dtype() == DType::BF16) return wide<&Heads::merge>(queue, out, in);
  const Timed timed(queue, "Heads merge", 0, out, in);
  if (queue.device()) return heads_cuda->merge(queue, out, in);
  if (queue.reference(out.dtype()))
    return by_float_type(out.dtype(), [&]<class T>() { reference::heads_merge(out.as<T>(), in.as<T>(), e); });
  cpu::heads_merge(queue, out.as<float>(), in.as<float>(), e);
}

}  // namespace memring
