// Queries, keys and values: checks, and the operators that they are made of. Those choose the backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/projections/projections.h"

#include <utility>

#include "base/error.h"
#include "kernels/common/checks.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/heads/heads.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

struct Extents {
  int64_t batch, rows, queries;  // of each sequence
  Projections::Widths widths;
};

void expect_angles(RopeAngles angles, DType dtype, int64_t batch, int64_t rows, int64_t half) {
  expect_float(angles.cos, 3, "Projections cos");
  const int64_t tables = angles.cos.dim(0);
  if (tables != 1 && tables != batch)
    throw ShapeError(fmt::format("Projections: angles of {} sequences, of {}", tables, batch));
  expect(angles.cos, sums_type(dtype), {tables, rows, half}, "Projections cos");
  expect(angles.sin, sums_type(dtype), {tables, rows, half}, "Projections sin");
}

Extents extents_of(const Projections::ConstParts& parts, ConstView<> normed, const Projections::Weights& weights,
                   RopeAngles angles, const Projections::Queries& queries) {
  const DType dtype = expect_stored(normed, 2, "Projections normed");
  expect_stored(parts.q, 4, "Projections q");
  expect_stored(parts.k, 4, "Projections k");
  const int64_t batch = parts.q.dim(0), rows = parts.k.dim(2), dim = normed.dim(1), heads = parts.q.dim(1),
                kv_heads = parts.k.dim(1), head_dim = parts.q.dim(3);
  const bool each = queries.rows.empty();
  const int64_t asking = each ? rows : std::ssize(queries.rows);
  if (parts.q.dim(2) != asking)
    throw ShapeError(fmt::format("Projections: {} rows ask in q {}", asking, parts.q.text()));
  if (head_dim % 2 != 0) throw ShapeError(fmt::format("Projections: head_dim must be even, found {}", head_dim));
  for (const int32_t row : queries.rows)
    if (row < 0 || row >= rows) throw ShapeError(fmt::format("Projections: row {} of {} asks", row, rows));
  expect(parts.q, dtype, {batch, heads, asking, head_dim}, "Projections q");
  expect(parts.k, dtype, {batch, kv_heads, rows, head_dim}, "Projections k");
  expect(parts.v, dtype, {batch, kv_heads, rows, head_dim}, "Projections v");
  expect(normed, dtype, {batch * rows, dim}, "Projections normed");
  LinearLayer::expect(weights.q, dtype, heads * head_dim, dim);
  LinearLayer::expect(weights.k, dtype, kv_heads * head_dim, dim);
  LinearLayer::expect(weights.v, dtype, kv_heads * head_dim, dim);
  for (const ConstView<>& gain : {weights.q_norm, weights.k_norm})
    if (gain) expect(gain, dtype, {head_dim}, "Projections gain");
  expect_angles(angles, dtype, batch, rows, head_dim / 2);
  if (!each) expect_angles(queries.angles, dtype, batch, asking, head_dim / 2);
  return {batch, rows, asking, {dim, heads, kv_heads, head_dim}};
}

void expect_gradients(const Projections::Gradients& d, const Projections::Weights& weights) {
  LinearLayer::expect(d.q, weights.q);
  LinearLayer::expect(d.k, weights.k);
  LinearLayer::expect(d.v, weights.v);
  for (const auto& [d_gain, gain] : {std::pair{d.q_norm, weights.q_norm}, {d.k_norm, weights.k_norm}}) {
    if (!d_gain) continue;
    if (!gain) throw ShapeError("Projections: a gradient of a norm that is not there");
    expect_sums(d_gain, gain.dtype(), gain.shape(), "Projections gradient of a gain");
  }
}

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
};

/// What the norm of queries or keys works in.
struct NormWork {
  View<> inv_rms;  // [rows * heads]
  View<> product;  // backward only: what is normed, [rows, heads * head_dim]

  static NormWork carve(Arena& arena, DType dtype, int64_t rows, int64_t heads, int64_t head_dim, bool backward) {
    NormWork work;
    work.inv_rms = arena.take(sums_type(dtype), {rows * heads});
    if (backward) work.product = arena.take(dtype, {rows, heads * head_dim});
    return work;
  }
};

/// Queries or keys on their way: the layer, the norm if there is one, and the rotation, and back.
struct Rotated {
  const LinearLayer::Weights& layer;
  ConstView<> gain;
  double eps;
  RopeAngles angles;

  void forward(Queue& queue, View<> out, View<> by_row, ConstView<> x, Arena& scratch) const {
    LinearLayer::forward(queue, by_row, Write::Overwrite, x, layer, scratch);
    if (gain) {
      const ArenaScope scope(scratch);
      const View<> numbers = heads_of(by_row, out);
      const NormWork work = NormWork::carve(scratch, x.dtype(), by_row.dim(0), out.dim(1), out.dim(3), false);
      RmsNorm::forward(queue, numbers, work.inv_rms, numbers, gain, eps);
    }
    Rope::forward(queue, out, by_row, angles.cos, angles.sin);
  }

  /// d_by_row: the gradient of what the layer gives.
  void backward(Queue& queue, View<> d_by_row, View<> d_gain, ConstView<> d_out, ConstView<> x, Arena& scratch) const {
    if (!gain) return Rope::backward(queue, d_by_row, d_out, angles.cos, angles.sin);
    const ArenaScope scope(scratch);
    const auto [inv_rms, product] =
        NormWork::carve(scratch, x.dtype(), d_by_row.dim(0), d_out.dim(1), d_out.dim(3), true);
    const View<> d_numbers = heads_of(d_by_row, d_out), numbers = heads_of(product, d_out);
    LinearLayer::forward(queue, product, Write::Overwrite, x, layer, scratch);
    RmsNorm::forward(queue, d_numbers, inv_rms, numbers, gain, eps);  // for inv_rms: the other is written over
    Rope::backward(queue, d_by_row, d_out, angles.cos, angles.sin);
    RmsNorm::backward(queue, d_numbers, Write::Overwrite, d_gain, d_numbers, numbers, gain, inv_rms);
  }

 private:
  /// Rows as numbers of one head each, [rows * heads, head_dim]; out [batch, heads, any, head_dim].
  static View<> heads_of(View<> by_row, ConstView<> out) {
    return by_row.reshaped({by_row.dim(0) * out.dim(1), out.dim(3)});
  }
};

}  // namespace

int64_t Projections::scratch_bytes(DType dtype, int64_t rows, int64_t queries, const Widths& w, bool backward) {
  Arena measure;
  Work::carve(measure, dtype, rows, queries, w, backward);
  const auto layer = [&](int64_t count, int64_t heads) {
    const ArenaScope scope(measure);
    if (w.norms) NormWork::carve(measure, dtype, count, heads, w.head_dim, backward);
    measure.take(DType::U8, {LinearLayer::scratch_bytes(dtype, count, w.lora_rank)});
  };
  layer(queries, w.heads);
  layer(rows, w.kv_heads);
  return measure.peak();
}

void Projections::forward(Queue& queue, const Parts& out, ConstView<> normed, const Weights& weights, RopeAngles angles,
                          const Queries& queries, Arena& scratch) {
  const Extents e = extents_of({out.q, out.k, out.v}, normed, weights, angles, queries);
  const ArenaScope scope(scratch);
  const int64_t batch = e.batch;
  const Work work = Work::carve(scratch, normed.dtype(), batch * e.rows, batch * e.queries, e.widths, false);
  const bool each = queries.rows.empty();
  if (!each)
    MoveRows::run(queue, by_sequence(work.asking, batch), ascending(queries.rows.size()), Write::Overwrite,
                  by_sequence(normed, batch), queries.rows);
  const Rotated q{weights.q, weights.q_norm, weights.norm_eps, each ? angles : queries.angles},
      k{weights.k, weights.k_norm, weights.norm_eps, angles};
  q.forward(queue, out.q, work.wide, each ? normed : ConstView<>(work.asking), scratch);
  k.forward(queue, out.k, work.narrow, normed, scratch);
  LinearLayer::forward(queue, work.narrow, Write::Overwrite, normed, weights.v, scratch);
  Heads::split(queue, out.v, work.narrow);
}

void Projections::backward(Queue& queue, View<> d_normed, const Gradients& d_weights, const ConstParts& d_out,
                           ConstView<> normed, const Weights& weights, RopeAngles angles, const Queries& queries,
                           Arena& scratch) {
  const Extents e = extents_of(d_out, normed, weights, angles, queries);
  expect(d_normed, normed.dtype(), normed.shape(), "Projections d_normed");
  expect_gradients(d_weights, weights);
  const ArenaScope scope(scratch);
  const int64_t batch = e.batch;
  const auto [wide, narrow, asking, d_asking] =
      Work::carve(scratch, normed.dtype(), batch * e.rows, batch * e.queries, e.widths, true);
  const bool each = queries.rows.empty();
  const Rotated q{weights.q, weights.q_norm, weights.norm_eps, each ? angles : queries.angles},
      k{weights.k, weights.k_norm, weights.norm_eps, angles};
  if (each) {
    q.backward(queue, wide, d_weights.q_norm, d_out.q, normed, scratch);
    LinearLayer::weight_gradients(queue, d_weights.q, wide, normed, weights.q, scratch);
    LinearLayer::input_gradient(queue, d_normed, Write::Overwrite, wide, weights.q, scratch);
  } else {
    const std::vector<int32_t> places = ascending(queries.rows.size());
    MoveRows::run(queue, by_sequence(asking, batch), places, Write::Overwrite, by_sequence(normed, batch),
                  queries.rows);
    q.backward(queue, wide, d_weights.q_norm, d_out.q, asking, scratch);
    LinearLayer::weight_gradients(queue, d_weights.q, wide, asking, weights.q, scratch);
    LinearLayer::input_gradient(queue, d_asking, Write::Overwrite, wide, weights.q, scratch);
    Elementwise::fill(queue, d_normed, 0);
    MoveRows::run(queue, by_sequence(d_normed, batch), queries.rows, Write::Overwrite, by_sequence(d_asking, batch),
                  places);
  }
  k.backward(queue, narrow, d_weights.k_norm, d_out.k, normed, scratch);
  LinearLayer::weight_gradients(queue, d_weights.k, narrow, normed, weights.k, scratch);
  LinearLayer::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.k, scratch);
  Heads::merge(queue, narrow, d_out.v);
  LinearLayer::weight_gradients(queue, d_weights.v, narrow, normed, weights.v, scratch);
  LinearLayer::input_gradient(queue, d_normed, Write::Accumulate, narrow, weights.v, scratch);
}

}  // namespace memring
