// Linear layer with bias and low-rank update: checks, and the operators that it is made of. Those choose the backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear_layer/linear_layer.h"

#include <array>

#include "base/error.h"
#include "kernels/common/checks.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/linear/linear.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

constexpr std::array<int32_t, 1> kFirst{0};

/// Checks what Linear does not see of the weights.
void expect_parts(const LinearLayer::Weights& w) {
  const DType dtype = expect_stored(w.weight, 2, "LinearLayer weight");
  const int64_t out = w.weight.dim(0), in = w.weight.dim(1);
  if (w.bias) expect(w.bias, dtype, {out}, "LinearLayer bias");
  if (!w.lora_a && !w.lora_b) return;
  if (!w.lora_a || !w.lora_b)
    throw ShapeError(fmt::format("LinearLayer: a low-rank update has two matrices, found {} alone",
                                 w.lora_a ? "A " + w.lora_a.text() : "B " + w.lora_b.text()));
  expect_stored(w.lora_a, 2, "LinearLayer A");
  expect(w.lora_a, dtype, {w.lora_a.dim(0), in}, "LinearLayer A");
  expect(w.lora_b, dtype, {out, w.lora_a.dim(0)}, "LinearLayer B");
}

/// Rows times a factor of the update, times its scale: [rows, rank].
template <class Product>
View<> scaled(Queue& queue, DType dtype, int64_t rows, const LinearLayer::Weights& w, Arena& scratch,
              const Product& product) {
  const View<> low = scratch.take(dtype, {rows, w.lora_a.dim(0)});
  product(low);
  if (w.lora_scale != 1) Elementwise::scale(queue, low, w.lora_scale);
  return low;
}

/// scale x Aᵀ
View<> inner(Queue& queue, ConstView<> x, const LinearLayer::Weights& w, Arena& scratch) {
  return scaled(queue, x.dtype(), x.dim(0), w, scratch,
                [&](View<> low) { Linear::forward(queue, low, Write::Overwrite, x, w.lora_a); });
}

/// scale dy B: its gradient.
View<> d_inner(Queue& queue, ConstView<> dy, const LinearLayer::Weights& w, Arena& scratch) {
  return scaled(queue, dy.dtype(), dy.dim(0), w, scratch,
                [&](View<> low) { Linear::input_gradient(queue, low, Write::Overwrite, dy, w.lora_b); });
}

}  // namespace

void LinearLayer::expect(const Weights& w, DType dtype, int64_t out, int64_t in) {
  memring::expect(w.weight, dtype, {out, in}, "LinearLayer weight");
  expect_parts(w);
}

void LinearLayer::expect(const Gradients& d, const Weights& w) {
  if ((d.bias && !w.bias) || ((d.lora_a || d.lora_b) && !w.lora_a))
    throw ShapeError("LinearLayer: a gradient of a bias or update that the layer does not have");
  const DType dtype = w.weight.dtype();
  if (d.weight) expect_sums(d.weight, dtype, w.weight.shape(), "LinearLayer d_weight");
  if (d.bias) expect_sums(d.bias, dtype, w.bias.shape(), "LinearLayer d_bias");
  if (d.lora_a) expect_sums(d.lora_a, dtype, w.lora_a.shape(), "LinearLayer d_A");
  if (d.lora_b) expect_sums(d.lora_b, dtype, w.lora_b.shape(), "LinearLayer d_B");
}

int64_t LinearLayer::scratch_bytes(DType dtype, int64_t rows, int64_t rank) {
  Arena measure;
  measure.take(dtype, {rows, rank});
  return measure.peak();
}

ProductCopies LinearLayer::copies(int64_t rows, int64_t in, int64_t out, int64_t rank, bool backward) {
  const ProductCopies plain = Linear::copies(rows, in, out, backward);
  if (rank == 0) return plain;
  return plain | Linear::copies(rows, in, rank, backward) | Linear::copies(rows, rank, out, backward);
}

// The bias goes first, and the product is added to it: one more pass over y, where a fused one would need a mode in
// each operator behind. In bf16 their sum is then rounded once.
void LinearLayer::forward(Queue& queue, View<> y, Write write, ConstView<> x, const Weights& w, Arena& scratch) {
  expect_parts(w);
  if (w.bias) {
    const int64_t out = w.bias.dim(0);
    expect_stored_or_sums(y, expect_stored(x, 2, "LinearLayer x"), {x.dim(0), out}, "LinearLayer y");
    MoveRows::run(queue, y.reshaped({y.dim(0), 1, out}), kFirst, write, w.bias.reshaped({1, out}), kFirst);
    write = Write::Accumulate;
  }
  Linear::forward(queue, y, write, x, w.weight);
  if (!w.lora_a) return;
  const ArenaScope scope(scratch);
  Linear::forward(queue, y, Write::Accumulate, inner(queue, x, w, scratch), w.lora_b);
}

void LinearLayer::input_gradient(Queue& queue, View<> dx, Write write, ConstView<> dy, const Weights& w,
                                 Arena& scratch) {
  expect_parts(w);
  Linear::input_gradient(queue, dx, write, dy, w.weight);
  if (!w.lora_a) return;
  const ArenaScope scope(scratch);
  Linear::input_gradient(queue, dx, Write::Accumulate, d_inner(queue, dy, w, scratch), w.lora_a);
}

void LinearLayer::weight_gradients(Queue& queue, const Gradients& d, ConstView<> dy, ConstView<> x, const Weights& w,
                                   Arena& scratch) {
  expect_parts(w);
  expect(d, w);
  Linear::weight_gradient(queue, d.weight, dy, x);
  if (d.bias) {
    const int64_t out = w.bias.dim(0);
    memring::expect(dy, expect_stored(x, 2, "LinearLayer x"), {x.dim(0), out}, "LinearLayer dy");
    MoveRows::sum(queue, d.bias.reshaped({1, out}), kFirst, dy.reshaped({dy.dim(0), 1, out}), kFirst);
  }
  if (d.lora_b) {
    const ArenaScope scope(scratch);
    Linear::weight_gradient(queue, d.lora_b, dy, inner(queue, x, w, scratch));
  }
  if (d.lora_a) {
    const ArenaScope scope(scratch);
    Linear::weight_gradient(queue, d.lora_a, d_inner(queue, dy, w, scratch), x);
  }
}

}  // namespace memring
