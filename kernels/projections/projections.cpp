// Queries, keys and values: checks, and the operators that they are made of. Those choose between reference and fast
// path, so there is neither cpu.cpp nor ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/projections/projections.h"

#include "kernels/common/checks.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/rope/rope.h"

namespace memring {
namespace {

/// Row-major counterparts of q [batch * rows, heads * head_dim] and of k or v [batch * rows, kv_heads * head_dim].
struct RowMajor {
  View<> wide, narrow;

  static RowMajor carve(Arena& arena, DType dtype, int64_t rows, int64_t wide, int64_t narrow) {
    const View<> q = arena.take(dtype, {rows, wide});
    return {q, arena.take(dtype, {rows, narrow})};
  }
  static RowMajor carve(Arena& arena, const Projections::ConstParts& parts, ConstView<> normed) {
    expect_float(normed, 2, "Projections normed");
    expect_float(parts.q, 4, "Projections q");
    expect_float(parts.k, 4, "Projections k");
    return carve(arena, normed.dtype(), normed.dim(0), parts.q.dim(1) * parts.q.dim(3),
                 parts.k.dim(1) * parts.k.dim(3));
  }
};

}  // namespace

int64_t Projections::scratch_bytes(DType dtype, int64_t batch_rows, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  Arena measure;
  RowMajor::carve(measure, dtype, batch_rows, heads * head_dim, kv_heads * head_dim);
  return measure.peak();
}

void Projections::forward(Queue& queue, const Parts& out, ConstView<> normed, const ConstParts& weights,
                          ConstView<> cos, ConstView<> sin, Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto [wide, narrow] = RowMajor::carve(scratch, {out.q, out.k, out.v}, normed);
  Linear::forward(queue, wide, Write::Overwrite, normed, weights.q);
  Rope::forward(queue, out.q, wide, cos, sin);
  Linear::forward(queue, narrow, Write::Overwrite, normed, weights.k);
  Rope::forward(queue, out.k, narrow, cos, sin);
  Linear::forward(queue, narrow, Write::Overwrite, normed, weights.v);
  Heads::split(queue, out.v, narrow);
}

void Projections::backward(Queue& queue, View<> d_normed, const Parts& d_weights, const ConstParts& d_out,
                           ConstView<> normed, const ConstParts& weights, ConstView<> cos, ConstView<> sin,
                           Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto [wide, narrow] = RowMajor::carve(scratch, d_out, normed);
  Rope::backward(queue, wide, d_out.q, cos, sin);
  Linear::weight_gradient(queue, d_weights.q, wide, normed);
  Linear::input_gradient(queue, d_normed, Write::Overwrite, wide, weights.q);
  Rope::backward(queue, narrow, d_out.k, cos, sin);
  Linear::weight_gradient(queue, d_weights.k, narrow, normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.k);
  Heads::merge(queue, narrow, d_out.v);
  Linear::weight_gradient(queue, d_weights.v, narrow, normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.v);
}

}  // namespace memring
