// SPDX-License-Identifier: Apache-2.0
#include "model/layer.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {
namespace {

/// The segment's own keys behind those of the memory.
std::vector<KeySpan> with_own_keys(std::span<const KeySpan> before, KeySpan own) {
  std::vector<KeySpan> spans(before.begin(), before.end());
  spans.push_back(own);
  return spans;
}

/// Buffers that live during one branch of the layer only (n = batch * rows, m = batch * queries).
struct AttentionScratch {
  View<> wide, narrow;               // [m, heads * head_dim], [n, kv_heads * head_dim]
  View<> asking, d_asking;           // where not each row asks: normed at those that do and its gradient, [m, dim]
  View<> d_o, dq, dk, dv, d_normed;  // backward only; shapes of o, q, k, v and [n, dim]

  static AttentionScratch carve(Arena& arena, const ModelShape& m, DType dtype, CellExtent e, int64_t queries,
                                bool backward) {
    AttentionScratch s;
    const int64_t n = e.total(), asking = e.batch * queries;
    s.wide = arena.take(dtype, {asking, m.heads * m.head_dim});
    s.narrow = arena.take(dtype, {n, m.kv_heads * m.head_dim});
    if (queries < e.rows) s.asking = arena.take(dtype, {asking, m.dim});
    if (!backward) return s;
    if (queries < e.rows) s.d_asking = arena.take(dtype, {asking, m.dim});
    s.d_o = arena.take(dtype, {e.batch, m.heads, queries, m.head_dim});
    s.dq = arena.take(dtype, {e.batch, m.heads, queries, m.head_dim});
    s.dk = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.dv = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.d_normed = arena.take(dtype, {n, m.dim});
    return s;
  }
};

/// Of [batch * rows, dim] the rows that ask, or the other way round.
struct Asking {
  Queue& queue;
  CellExtent cell;
  const LayerRows& rows;

  View<> by_sequence(View<> all) const { return all.reshaped({cell.batch, all.dim(0) / cell.batch, all.dim(1)}); }
  std::vector<int32_t> places() const {
    std::vector<int32_t> places(rows.wanted.size());
    std::iota(places.begin(), places.end(), 0);
    return places;
  }
  void take(View<> some, View<> all) const {
    MoveRows::run(queue, by_sequence(some), places(), Write::Overwrite, by_sequence(all), rows.wanted);
  }
  void give_back(View<> all, View<> some) const {
    Elementwise::fill(queue, all, 0);
    MoveRows::run(queue, by_sequence(all), rows.wanted, Write::Overwrite, by_sequence(some), places());
  }
};

struct MlpScratch {
  View<> activated;  // [chunk, ffn]; backward: its gradient first
  View<> d_normed;   // backward only: [n, dim]

  static MlpScratch carve(Arena& arena, const ModelShape& m, DType dtype, int64_t n, bool backward) {
    MlpScratch s;
    const int64_t chunk = std::min(n, kMlpRows);
    s.activated = arena.take(dtype, {chunk, m.ffn});
    if (backward) s.d_normed = arena.take(dtype, {n, m.dim});
    return s;
  }
};

}  // namespace

int64_t Layer::scratch_bytes(const ModelShape& shape, DType dtype, CellExtent extent, bool backward) {
  Arena attention, fewer, mlp;
  AttentionScratch::carve(attention, shape, dtype, extent, extent.rows, backward);
  AttentionScratch::carve(fewer, shape, dtype, extent, extent.rows / 2, backward);
  MlpScratch::carve(mlp, shape, dtype, extent.total(), backward);
  return std::max({attention.peak(), fewer.peak(), mlp.peak()});
}

LayerSaved LayerSaved::carve(Arena& arena, const ModelShape& m, DType dtype, CellExtent e, View<> input) {
  const int64_t n = e.total(), chunk = std::min(n, kMlpRows);
  LayerSaved saved;
  saved.input = input;
  saved.normed = arena.take(dtype, {n, m.dim});
  saved.inv_rms = arena.take(dtype, {n});
  saved.q = arena.take(dtype, {e.batch, m.heads, e.rows, m.head_dim});
  saved.k = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
  saved.v = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
  saved.o = arena.take(dtype, {e.batch, m.heads, e.rows, m.head_dim});
  saved.lse = arena.take(dtype, {e.batch, m.heads, e.rows});
  saved.middle = arena.take(dtype, {n, m.dim});
  saved.middle_normed = arena.take(dtype, {n, m.dim});
  saved.middle_inv = arena.take(dtype, {n});
  saved.gate = arena.take(dtype, {chunk, m.ffn});
  saved.up = arena.take(dtype, {chunk, m.ffn});
  return saved;
}

LayerSaved LayerSaved::with_queries(int64_t queries) const {
  const int64_t batch = q.dim(0), heads = q.dim(1), m = batch * queries, chunk = std::min(m, gate.dim(0));
  LayerSaved fewer = *this;
  fewer.q = q.first({batch, heads, queries, q.dim(3)});
  fewer.o = o.first({batch, heads, queries, o.dim(3)});
  fewer.lse = lse.first({batch, heads, queries});
  fewer.middle = middle.rows(0, m);
  fewer.middle_normed = middle_normed.rows(0, m);
  fewer.middle_inv = middle_inv.rows(0, m);
  fewer.gate = gate.rows(0, chunk);
  fewer.up = up.rows(0, chunk);
  return fewer;
}

void Layer::forward(Queue& queue, const Params& params, AttentionExecutor& attention, const LayerSaved& saved,
                    View<> output, CellExtent extent, const LayerRows& rows, std::span<const KeySpan> before,
                    Arena& scratch) const {
  const DType dtype = saved.input.dtype();
  const Asking asking{queue, extent, rows};
  {
    ArenaScope scope(scratch);
    RmsNorm::forward(queue, saved.normed, saved.inv_rms, saved.input, params.weight(tensors_.input_norm),
                     shape_.norm_eps);

    const AttentionScratch branch =
        AttentionScratch::carve(scratch, shape_, dtype, extent, std::ssize(rows.queries), false);
    const View<> wide = branch.wide, narrow = branch.narrow;
    if (branch.asking) asking.take(branch.asking, saved.normed);
    Linear::forward(queue, wide, Write::Overwrite, branch.asking ? branch.asking : saved.normed,
                    params.weight(tensors_.q));
    Rope::forward(queue, saved.q, wide, rows.query_angles.cos, rows.query_angles.sin);
    Linear::forward(queue, narrow, Write::Overwrite, saved.normed, params.weight(tensors_.k));
    Rope::forward(queue, saved.k, narrow, rows.key_angles.cos, rows.key_angles.sin);
    Linear::forward(queue, narrow, Write::Overwrite, saved.normed, params.weight(tensors_.v));
    Heads::split(queue, saved.v, narrow);
    queue.poll();

    const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = {}, .dv = {}, .rows = rows.keys});
    attention.forward(queue, saved.o, saved.lse, saved.q, rows.queries, spans);
    queue.poll();

    Heads::merge(queue, wide, saved.o);
    if (branch.asking)
      asking.take(saved.middle, saved.input);
    else
      Elementwise::copy(queue, saved.middle, saved.input);
    Linear::forward(queue, saved.middle, Write::Accumulate, wide, params.weight(tensors_.o));
  }
  RmsNorm::forward(queue, saved.middle_normed, saved.middle_inv, saved.middle, params.weight(tensors_.post_norm),
                   shape_.norm_eps);
  mlp_forward(queue, params, saved, output, scratch);
  queue.poll();
}

void Layer::backward(Queue& queue, const Params& params, AttentionExecutor& attention, const LayerSaved& saved,
                     View<> d_output, View<> d_input, CellExtent extent, const LayerRows& rows,
                     std::span<const KeySpan> before, Arena& scratch) const {
  mlp_backward(queue, params, saved, d_output, scratch);
  queue.poll();

  ArenaScope scope(scratch);
  const DType dtype = d_output.dtype();
  const Asking asking{queue, extent, rows};
  const auto [wide, narrow, normed_asking, d_normed_asking, d_o, dq, dk, dv, d_normed] =
      AttentionScratch::carve(scratch, shape_, dtype, extent, std::ssize(rows.queries), true);

  // d_output is now the gradient of `middle`: of the residual stream, and of o_proj's output alike.
  const View<> d_middle = d_output;
  Heads::merge(queue, wide, saved.o);
  Linear::weight_gradient(queue, params.grad(tensors_.o), d_middle, wide);
  Linear::input_gradient(queue, wide, Write::Overwrite, d_middle, params.weight(tensors_.o));
  Heads::split(queue, d_o, wide);

  Elementwise::fill(queue, dk, 0);
  Elementwise::fill(queue, dv, 0);
  const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = dk, .dv = dv, .rows = rows.keys});
  attention.backward(queue, dq, d_o, saved.o, saved.lse, saved.q, rows.queries, spans);
  queue.poll();

  Rope::backward(queue, wide, dq, rows.query_angles.cos, rows.query_angles.sin);
  if (normed_asking) {
    asking.take(normed_asking, saved.normed);
    Linear::weight_gradient(queue, params.grad(tensors_.q), wide, normed_asking);
    Linear::input_gradient(queue, d_normed_asking, Write::Overwrite, wide, params.weight(tensors_.q));
    asking.give_back(d_normed, d_normed_asking);
    asking.give_back(d_input, d_middle);
  } else {
    Linear::weight_gradient(queue, params.grad(tensors_.q), wide, saved.normed);
    Linear::input_gradient(queue, d_normed, Write::Overwrite, wide, params.weight(tensors_.q));
  }
  Rope::backward(queue, narrow, dk, rows.key_angles.cos, rows.key_angles.sin);
  Linear::weight_gradient(queue, params.grad(tensors_.k), narrow, saved.normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, params.weight(tensors_.k));
  Heads::merge(queue, narrow, dv);
  Linear::weight_gradient(queue, params.grad(tensors_.v), narrow, saved.normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, params.weight(tensors_.v));
  RmsNorm::backward(queue, d_input, Write::Accumulate, params.grad(tensors_.input_norm), d_normed, saved.input,
                    params.weight(tensors_.input_norm), saved.inv_rms);
  queue.poll();
}

void Layer::mlp_forward(Queue& queue, const Params& params, const LayerSaved& saved, View<> output,
                        Arena& scratch) const {
  ArenaScope scope(scratch);
  const int64_t n = saved.middle.dim(0), chunk = saved.gate.dim(0);
  const View<> activated = MlpScratch::carve(scratch, shape_, output.dtype(), n, false).activated;
  Elementwise::copy(queue, output, saved.middle);
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t count = std::min(chunk, n - begin);
    const ConstView<> x = saved.middle_normed.rows(begin, count);
    const View<> gate = saved.gate.rows(0, count), up = saved.up.rows(0, count), y = activated.rows(0, count);
    Linear::forward(queue, gate, Write::Overwrite, x, params.weight(tensors_.gate));
    Linear::forward(queue, up, Write::Overwrite, x, params.weight(tensors_.up));
    SwiGlu::forward(queue, y, gate, up);
    Linear::forward(queue, output.rows(begin, count), Write::Accumulate, y, params.weight(tensors_.down));
  }
}

void Layer::mlp_backward(Queue& queue, const Params& params, const LayerSaved& saved, View<> d_hidden,
                         Arena& scratch) const {
  ArenaScope scope(scratch);
  const int64_t n = saved.middle.dim(0), chunk = saved.gate.dim(0);
  const auto [activated, d_normed] = MlpScratch::carve(scratch, shape_, d_hidden.dtype(), n, true);
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t count = std::min(chunk, n - begin);
    const ConstView<> x = saved.middle_normed.rows(begin, count), dy = d_hidden.rows(begin, count);
    const View<> gate = saved.gate.rows(0, count), up = saved.up.rows(0, count), y = activated.rows(0, count);
    if (n > chunk) {
      Linear::forward(queue, gate, Write::Overwrite, x, params.weight(tensors_.gate));
      Linear::forward(queue, up, Write::Overwrite, x, params.weight(tensors_.up));
    }
    Linear::input_gradient(queue, y, Write::Overwrite, dy, params.weight(tensors_.down));
    // In one pass y turns from its gradient into itself, and gate and up into their gradients.
    const View<> d_gate = gate, d_up = up;
    SwiGlu::backward(queue, d_gate, d_up, y, y, gate, up);
    Linear::weight_gradient(queue, params.grad(tensors_.down), dy, y);
    Linear::weight_gradient(queue, params.grad(tensors_.gate), d_gate, x);
    Linear::weight_gradient(queue, params.grad(tensors_.up), d_up, x);
    const View<> dx = d_normed.rows(begin, count);
    Linear::input_gradient(queue, dx, Write::Overwrite, d_gate, params.weight(tensors_.gate));
    Linear::input_gradient(queue, dx, Write::Accumulate, d_up, params.weight(tensors_.up));
  }
  RmsNorm::backward(queue, d_hidden, Write::Accumulate, params.grad(tensors_.post_norm), d_normed, saved.middle,
                    params.weight(tensors_.post_norm), saved.middle_inv);
}

}  // namespace memring
