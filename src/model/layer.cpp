// SPDX-License-Identifier: Apache-2.0
#include "model/layer.h"

#include <algorithm>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/gated_unit/gated_unit.h"
#include "kernels/heads/heads.h"
#include "kernels/projections/projections.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

/// The segment's own keys behind those of the memory.
std::vector<KeySpan> with_own_keys(std::span<const KeySpan> before, KeySpan own) {
  std::vector<KeySpan> spans(before.begin(), before.end());
  spans.push_back(own);
  return spans;
}

Projections::Weights projection_weights(const Params& params, const LayerTensors& t) {
  return {t.q.weights(params), t.k.weights(params), t.v.weights(params)};
}

Projections::Gradients projection_gradients(const Params& params, const LayerTensors& t) {
  return {t.q.gradients(params), t.k.gradients(params), t.v.gradients(params)};
}

GatedUnit::Weights gated_weights(const Params& params, const LayerTensors& t) {
  return {t.gate.weights(params), t.up.weights(params)};
}

/// o [m, heads * head_dim] as the output projection takes it, or its gradient (m = batch * queries). It does not live
/// at the same time as the scratch of the projections.
View<> take_row_major_o(Arena& arena, const ModelShape& m, DType dtype, int64_t queries) {
  return arena.take(dtype, {queries, m.heads * m.head_dim});
}

/// Buffers that live during backward of one branch of the layer only.
struct AttentionScratch {
  View<> d_o, dq, dk, dv, d_normed;  // shapes of o, q, k, v and [n, dim]

  static AttentionScratch carve(Arena& arena, const ModelShape& m, DType dtype, CellExtent e, int64_t queries) {
    AttentionScratch s;
    s.d_o = arena.take(dtype, {e.batch, m.heads, queries, m.head_dim});
    s.dq = arena.take(dtype, {e.batch, m.heads, queries, m.head_dim});
    s.dk = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.dv = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.d_normed = arena.take(dtype, {e.total(), m.dim});
    return s;
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

int64_t Layer::scratch_bytes(const ModelShape& shape, int64_t lora_rank, DType dtype, CellExtent extent,
                             bool backward) {
  Arena mlp;
  MlpScratch::carve(mlp, shape, dtype, extent.total(), backward);
  int64_t most = mlp.peak() + LinearLayer::scratch_bytes(dtype, std::min(extent.total(), kMlpRows), lora_rank);
  for (const int64_t queries : {extent.rows, extent.rows / 2}) {  // each row asks, or at most half of them
    Arena attention, row_major_o;
    if (backward) AttentionScratch::carve(attention, shape, dtype, extent, queries);
    take_row_major_o(row_major_o, shape, dtype, extent.batch * queries);
    const int64_t output = row_major_o.peak() + LinearLayer::scratch_bytes(dtype, extent.batch * queries, lora_rank);
    const int64_t projections =
        Projections::scratch_bytes(dtype, extent.total(), extent.batch * queries,
                                   {shape.dim, shape.heads, shape.kv_heads, shape.head_dim, lora_rank}, backward);
    most = std::max(most, attention.peak() + std::max(output, projections));
  }
  return most;
}

ProductCopies Layer::copies(const ModelShape& m, int64_t lora_rank, CellExtent extent, bool backward) {
  const int64_t n = extent.total(), chunk = std::min(n, kMlpRows);
  const int64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  const auto layer = [&](int64_t rows, int64_t in, int64_t out) {
    return LinearLayer::copies(rows, in, out, lora_rank, backward);
  };
  return layer(n, m.dim, q) | layer(n, m.dim, kv) | layer(n, q, m.dim) | layer(chunk, m.dim, m.ffn) |
         layer(chunk, m.ffn, m.dim);
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
  {
    ArenaScope scope(scratch);
    RmsNorm::forward(queue, saved.normed, saved.inv_rms, saved.input, params.weight(tensors_.input_norm),
                     shape_.norm_eps);
    Projections::forward(queue, {saved.q, saved.k, saved.v}, saved.normed, projection_weights(params, tensors_),
                         rows.angles, rows.asking, scratch);
    queue.poll();

    const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = {}, .dv = {}, .rows = rows.keys});
    attention.forward(queue, saved.o, saved.lse, saved.q, rows.queries, spans);
    queue.poll();

    const View<> o = take_row_major_o(scratch, shape_, saved.o.dtype(), saved.middle.dim(0));
    Heads::merge(queue, o, saved.o);
    const std::span<const int32_t> asking = rows.asking.rows;
    if (asking.empty())
      Elementwise::copy(queue, saved.middle, saved.input);
    else
      MoveRows::run(queue, by_sequence(saved.middle, extent.batch), ascending(asking.size()), Write::Overwrite,
                    by_sequence(saved.input, extent.batch), asking);
    LinearLayer::forward(queue, saved.middle, Write::Accumulate, o, tensors_.o.weights(params), scratch);
  }
  RmsNorm::forward(queue, saved.middle_normed, saved.middle_inv, saved.middle, params.weight(tensors_.post_norm),
                   shape_.norm_eps);
  mlp_forward(queue, params, saved, output, scratch);
  queue.poll();
}

void Layer::backward(Queue& queue, const Params& params, AttentionExecutor& attention, const LayerSaved& saved,
                     View<> d_output, View<> d_input, CellExtent extent, const LayerRows& rows,
                     std::span<const KeySpan> before, const AddKeyGradients& add_key_gradients, Arena& scratch) const {
  mlp_backward(queue, params, saved, d_output, scratch);
  queue.poll();

  ArenaScope scope(scratch);
  const DType dtype = d_output.dtype();
  // d_output is now the gradient of `middle`: of the residual stream, and of o_proj's output alike.
  const View<> d_middle = d_output;
  const auto [d_o, dq, dk, dv, d_normed] =
      AttentionScratch::carve(scratch, shape_, dtype, extent, std::ssize(rows.queries));
  {
    ArenaScope merged(scratch);
    const View<> o = take_row_major_o(scratch, shape_, dtype, d_middle.dim(0));
    Heads::merge(queue, o, saved.o);
    const LinearLayer::Weights weights = tensors_.o.weights(params);
    LinearLayer::weight_gradients(queue, tensors_.o.gradients(params), d_middle, o, weights, scratch);
    LinearLayer::input_gradient(queue, o, Write::Overwrite, d_middle, weights, scratch);
    Heads::split(queue, d_o, o);
  }
  Elementwise::fill(queue, dk, 0);
  Elementwise::fill(queue, dv, 0);
  if (add_key_gradients) add_key_gradients(dk, dv);
  const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = dk, .dv = dv, .rows = rows.keys});
  attention.backward(queue, dq, d_o, saved.o, saved.lse, saved.q, rows.queries, spans);
  queue.poll();

  Projections::backward(queue, d_normed, projection_gradients(params, tensors_), {dq, dk, dv}, saved.normed,
                        projection_weights(params, tensors_), rows.angles, rows.asking, scratch);
  if (const std::span<const int32_t> asking = rows.asking.rows; !asking.empty()) {
    Elementwise::fill(queue, d_input, 0);
    MoveRows::run(queue, by_sequence(d_input, extent.batch), asking, Write::Overwrite,
                  by_sequence(d_middle, extent.batch), ascending(asking.size()));
  }
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
    const View<> y = activated.rows(0, count);
    GatedUnit::forward(queue, y, {saved.gate.rows(0, count), saved.up.rows(0, count)}, x,
                       gated_weights(params, tensors_), scratch);
    LinearLayer::forward(queue, output.rows(begin, count), Write::Accumulate, y, tensors_.down.weights(params),
                         scratch);
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
    const View<> y = activated.rows(0, count);
    const GatedUnit::Parts parts{saved.gate.rows(0, count), saved.up.rows(0, count)};
    const GatedUnit::Weights weights = gated_weights(params, tensors_);
    const LinearLayer::Weights down = tensors_.down.weights(params);
    if (n > chunk) GatedUnit::products(queue, parts, x, weights, scratch);
    LinearLayer::input_gradient(queue, y, Write::Overwrite, dy, down, scratch);
    GatedUnit::backward(queue, d_normed.rows(begin, count),
                        {tensors_.gate.gradients(params), tensors_.up.gradients(params)}, y, parts, x, weights,
                        scratch);
    LinearLayer::weight_gradients(queue, tensors_.down.gradients(params), dy, y, down, scratch);
  }
  RmsNorm::backward(queue, d_hidden, Write::Accumulate, params.grad(tensors_.post_norm), d_normed, saved.middle,
                    params.weight(tensors_.post_norm), saved.middle_inv);
}

}  // namespace memring
