// SPDX-License-Identifier: Apache-2.0
#include "model/layer.h"

#include <algorithm>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace memring {
namespace {

/// The segment's own keys behind those of the memory.
std::vector<KeySpan> with_own_keys(std::span<const KeySpan> before, KeySpan own) {
  std::vector<KeySpan> spans(before.begin(), before.end());
  spans.push_back(own);
  return spans;
}

/// Buffers that live during one branch of the layer only (n = batch * rows).
struct AttentionScratch {
  View<> wide, narrow;               // [n, heads * head_dim], [n, kv_heads * head_dim]
  View<> d_o, dq, dk, dv, d_normed;  // backward only; shapes of o, q, k, v and [n, dim]

  static AttentionScratch carve(Arena& arena, const ModelShape& m, DType dtype, CellExtent e, bool backward) {
    AttentionScratch s;
    const int64_t n = e.total();
    s.wide = arena.take(dtype, {n, m.heads * m.head_dim});
    s.narrow = arena.take(dtype, {n, m.kv_heads * m.head_dim});
    if (!backward) return s;
    s.d_o = arena.take(dtype, {e.batch, m.heads, e.rows, m.head_dim});
    s.dq = arena.take(dtype, {e.batch, m.heads, e.rows, m.head_dim});
    s.dk = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.dv = arena.take(dtype, {e.batch, m.kv_heads, e.rows, m.head_dim});
    s.d_normed = arena.take(dtype, {n, m.dim});
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

int64_t Layer::scratch_bytes(const ModelShape& shape, DType dtype, CellExtent extent, bool backward) {
  Arena attention, mlp;
  AttentionScratch::carve(attention, shape, dtype, extent, backward);
  MlpScratch::carve(mlp, shape, dtype, extent.total(), backward);
  return std::max(attention.peak(), mlp.peak());
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

void Layer::forward(Queue& queue, const Params& params, AttentionExecutor& attention, const LayerSaved& saved,
                    View<> output, CellExtent extent, std::span<const Row> rows, RopeAngles angles,
                    std::span<const KeySpan> before, Arena& scratch) const {
  const DType dtype = saved.input.dtype();
  {
    ArenaScope scope(scratch);
    RmsNorm::forward(queue, saved.normed, saved.inv_rms, saved.input, params.weight(tensors_.input_norm),
                     shape_.norm_eps);

    const AttentionScratch branch = AttentionScratch::carve(scratch, shape_, dtype, extent, false);
    const View<> wide = branch.wide, narrow = branch.narrow;
    Linear::forward(queue, wide, Write::Overwrite, saved.normed, params.weight(tensors_.q));
    Rope::forward(queue, saved.q, wide, angles.cos, angles.sin);
    Linear::forward(queue, narrow, Write::Overwrite, saved.normed, params.weight(tensors_.k));
    Rope::forward(queue, saved.k, narrow, angles.cos, angles.sin);
    Linear::forward(queue, narrow, Write::Overwrite, saved.normed, params.weight(tensors_.v));
    Heads::split(queue, saved.v, narrow);
    queue.poll();

    const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = {}, .dv = {}, .rows = rows});
    attention.forward(queue, saved.o, saved.lse, saved.q, rows, spans);
    queue.poll();

    Heads::merge(queue, wide, saved.o);
    Elementwise::copy(queue, saved.middle, saved.input);
    Linear::forward(queue, saved.middle, Write::Accumulate, wide, params.weight(tensors_.o));
  }
  RmsNorm::forward(queue, saved.middle_normed, saved.middle_inv, saved.middle, params.weight(tensors_.post_norm),
                   shape_.norm_eps);
  mlp_forward(queue, params, saved, output, scratch);
  queue.poll();
}

void Layer::backward(Queue& queue, const Params& params, AttentionExecutor& attention, const LayerSaved& saved,
                     View<> d_hidden, CellExtent extent, std::span<const Row> rows, RopeAngles angles,
                     std::span<const KeySpan> before, Arena& scratch) const {
  mlp_backward(queue, params, saved, d_hidden, scratch);
  queue.poll();

  ArenaScope scope(scratch);
  const DType dtype = d_hidden.dtype();
  const auto [wide, narrow, d_o, dq, dk, dv, d_normed] = AttentionScratch::carve(scratch, shape_, dtype, extent, true);

  // d_hidden is now the gradient of `middle`: of the residual stream, and of o_proj's output alike.
  Heads::merge(queue, wide, saved.o);
  Linear::weight_gradient(queue, params.grad(tensors_.o), d_hidden, wide);
  Linear::input_gradient(queue, wide, Write::Overwrite, d_hidden, params.weight(tensors_.o));
  Heads::split(queue, d_o, wide);

  Elementwise::fill(queue, dk, 0);
  Elementwise::fill(queue, dv, 0);
  const auto spans = with_own_keys(before, {.k = saved.k, .v = saved.v, .dk = dk, .dv = dv, .rows = rows});
  attention.backward(queue, dq, d_o, saved.o, saved.lse, saved.q, rows, spans);
  queue.poll();

  Rope::backward(queue, wide, dq, angles.cos, angles.sin);
  Linear::weight_gradient(queue, params.grad(tensors_.q), wide, saved.normed);
  Linear::input_gradient(queue, d_normed, Write::Overwrite, wide, params.weight(tensors_.q));
  Rope::backward(queue, narrow, dk, angles.cos, angles.sin);
  Linear::weight_gradient(queue, params.grad(tensors_.k), narrow, saved.normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, params.weight(tensors_.k));
  Heads::merge(queue, narrow, dv);
  Linear::weight_gradient(queue, params.grad(tensors_.v), narrow, saved.normed);
  Linear::input_gradient(queue, d_normed, Write::Accumulate, narrow, params.weight(tensors_.v));
  RmsNorm::backward(queue, d_hidden, Write::Accumulate, params.grad(tensors_.input_norm), d_normed, saved.input,
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
