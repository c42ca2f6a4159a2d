// Queries, keys and values: checks, and the operators that they are made of. Those choose between reference and fast
// path, so there is neither cpu.cpp nor ref.cpp.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/projections/projections.h"

#include "base/error.h"
#include "kernels/common/checks.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

/// What the call works in (n = rows, m = queries, of all sequences).
struct Work {
  View<> wide, narrow;      // q [m, heads * head_dim] row-major; k or v [n, kv_heads * head_dim]
  View<> asking, d_asking;  // where not each row asks: normed at those that do and, in backward, its gradient [m, dim]

  static Work carve(Arena& arena, DType dtype, int64_t rows, int64_t queries, const Projections::Widths& w,
                    bool backward) {
    Work work;
    work.wide = arena.take(dtype, {queries, w.heads * w.head_dim});
    work.narrow = arena.take(dtype, {rows, w.kv_heads * w.head_dim});
    if (queries == rows) return work;
    work.asking = arena.take(dtype, {queries, w.dim});
    if (backward) work.d_asking = arena.take(dtype, {queries, w.dim});
    return work;
  }
  static Work carve(Arena& arena, const Projections::ConstParts& parts, ConstView<> normed,
                    const Projections::Queries& queries, bool backward) {
    expect_stored(normed, 2, "Projections normed");
    expect_stored(parts.q, 4, "Projections q");
    expect_stored(parts.k, 4, "Projections k");
    if (!queries.rows.empty() && std::ssize(queries.rows) != parts.q.dim(2))
      throw ShapeError(fmt::format("Projections: {} rows ask in q {}", queries.rows.size(), parts.q.text()));
    const int64_t asking = queries.rows.empty() ? normed.dim(0) : parts.q.dim(0) * parts.q.dim(2);
    return carve(arena, normed.dtype(), normed.dim(0), asking,
                 {normed.dim(1), parts.q.dim(1), parts.k.dim(1), parts.q.dim(3)}, backward);
  }
};

/// [batch * any, dim] by sequences.
template <class V>
V by_sequence(V all, int64_t batch) {
  return all.reshaped({batch, all.dim(0) / batch, all.dim(1)});
}

}  // namespace

int64_t Projections::scratch_bytes(DType dtype, int64_t rows, int64_t queries, const Widths& widths, bool backward) {
  Arena measure;
  Work::carve(measure, dtype, rows, queries, widths, backward);
  return measure.peak();
}

void Projections::forward(Queue& queue, const Parts& out, ConstView<> normed, const ConstParts& weights,
                          RopeAngles angles, const Queries& queries, Arena& scratch) {
  const ArenaScope scope(scratch);
  const Work work = Work::carve(scratch, {out.q, out.k, out.v}, normed, queries, false);
  const int64_t batch = out.q.dim(0);
  const bool each = queries.rows.empty();
  if (!each)
    MoveRows::run(queue, by_sequence(work.asking, batch), ascending(queries.rows.size()), Write::Overwrite,
                  by_sequence(normed, batch), queries.rows);
  const RopeAngles& of_queries = each ? angles : queries.angles;
  Linear::forward(queue, work.wide, Write::Overwrite, each ? normed : ConstView<>(work.asking), weights.q);
  Rope::forward(queue, out.q, work.wide, of_queries.cos, of_queries.sin);
  Linear::forward(queue, work.narrow, Write::Overwrite, normed, weights.k);
  Rope::forward(queue, out.k, work.narrow, angles.cos, angles.sin);
  Linear::forward(queue, work.narrow, Write::Overwrite, normed, weights.v);
  Heads::split(queue, out.v, work.narrow);
}

void Projections::backward(Queue& queue, View<> d_normed, const Parts& d_weights, const ConstParts& d_out,
                           ConstView<> normed, const ConstParts& weights, RopeAngles angles, const Queries& queries,
                           Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto [wide, narrow, asking, d_asking] = Work::carve(scratch, d_out, normed, queries, true);
  const int64_t batch = d_out.q.dim(0);
  const RopeAngles& of_queries = queries.rows.empty() ? angles : queries.angles;
  Rope::backward(queue, wide, d_out.q, of_queries.cos, of_queries.sin);
  if (queries.rows.empty()) {
    Linear::weight_gradient(queue, d_weights.q, wide, normed);
    Linear::input_gradient(queue, d_normed, Write::Overwrite, wide, weights.q);
  } else {
    const std::vector<int32_t> places = ascending(queries.rows.size());
    MoveRows::run(queue, by_sequence(asking, batch), places, Write::Overwrite, by_sequence(normed, batch),
                  queries.rows);
    Linear::weight_gradient(queue, d_weights.q, wide, asking);
    Linear::input_gradient(queue, d_asking, Write::Overwrite, wide, weights.q);
    Elementwise::fill(queue, d_normed, 0);
    MoveRows::run(queue, by_sequence(d_normed, batch), queries.rows, Write::Overwrite, by_sequence(d_asking, batch),
                  places);
  }
  Rope::backward(queue, narrow, d_out.k, angles.cos, angles.sin);
  Linear::weight_gradient(queue, d_weights.k, narrow, normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.k);
  Heads::merge(queue, narrow, d_out.v);
  Linear::weight_gradient(queue, d_weights.v, narrow, normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.v);
}

}  // namespace memring
