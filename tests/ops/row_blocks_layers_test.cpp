// Canonical blocks of what is made of several operators: linear layers with bias and low-rank update, and the norms of
// queries and keys.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/heads.h"
#include "kernels/linear_layer/linear_layer.h"
#include "kernels/projections/projections.h"
#include "layer_parameters.h"
#include "op_test.h"
#include "rope_tables.h"
#include "row_splits.h"

namespace memring::test {
namespace {

/// A layer's gradients as exact sums.
struct LayerSums {
  Sums weight, bias, lora_a, lora_b;

  LayerSums(int64_t out, int64_t in, int64_t rank)
      : weight({out, in}), bias({out}), lora_a({rank, in}), lora_b({out, rank}) {}
  void clear() {
    for (Sums* sums : {&weight, &bias, &lora_a, &lora_b}) sums->clear();
  }
  LinearLayer::Gradients views() { return {weight.view(), bias.view(), lora_a.view(), lora_b.view()}; }
  void add_to(std::vector<Exact>& all) const {
    for (const Sums* sums : {&weight, &bias, &lora_a, &lora_b})
      all.insert(all.end(), sums->data.begin(), sums->data.end());
  }
};

TEST(RowBlocks, LinearLayer) {
  const int64_t in = 72, out = 301, rank = 5;
  const auto x = random<float>({kRows, in}, 1), dy = random<float>({kRows, out}, 2);
  const LayerParameters<float> layer(out, in, {.bias = true, .rank = rank, .scale = 0.3}, 3);
  Tensor<float> y({kRows, out}), dx({kRows, in});
  LayerSums d(out, in, rank);
  expect_no_trace_of_splits(
      [&] { d.clear(); },
      [&](Queue& queue, Part part) {
        Scratch scratch(LinearLayer::scratch_bytes(DType::F32, part.count, rank));
        LinearLayer::forward(queue, part_of(y, part), Write::Overwrite, part_of(x, part), layer.weights(), scratch);
        LinearLayer::input_gradient(queue, part_of(dx, part), Write::Overwrite, part_of(dy, part), layer.weights(),
                                    scratch);
        LinearLayer::weight_gradients(queue, d.views(), part_of(dy, part), part_of(x, part), layer.weights(), scratch);
      },
      [&] {
        std::vector<Exact> all;
        for (const auto& one : {y.data, dx.data})
          for (const float value : one) all.emplace_back(static_cast<double>(value));
        d.add_to(all);
        return all;
      });
}

// Its norms: their canonical blocks are those of rows, with several heads each.
TEST(RowBlocks, NormsOfQueriesAndKeys) {
  const int64_t dim = 40, heads = 3, head_dim = 22;
  const auto normed = random<float>({kRows, dim}, 1), d_k = random<float>({kRows, heads * head_dim}, 2);
  const LayerParameters<float> layer(heads * head_dim, dim, {}, 3);
  const auto gain = random<float>({head_dim}, 4);
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < kRows; ++i) positions.push_back(i);
  Queue reference = reference_queue();
  const RopeTables<float> tables(reference, positions, head_dim / 2, 10000);
  Tensor<float> k({kRows, heads * head_dim}), d_normed({kRows, dim});
  Sums d_q_gain({head_dim}), d_k_gain({head_dim});
  expect_no_trace_of_splits(
      [&] {
        d_q_gain.clear();
        d_k_gain.clear();
      },
      [&](Queue& queue, Part part) {
        const Shape by_head{1, heads, part.count, head_dim}, some{1, part.count, head_dim / 2};
        const RopeAngles angles{tables.cos.view().at(0).rows(part.begin, part.count).reshaped(some),
                                tables.sin.view().at(0).rows(part.begin, part.count).reshaped(some)};
        Projections::Weights weights{layer.weights(), layer.weights(), layer.weights(), gain, gain, 1e-5};
        Projections::Gradients d;
        d.q_norm = d_q_gain.view();
        d.k_norm = d_k_gain.view();
        Tensor<float> out(by_head), d_out(by_head);
        Scratch scratch(Projections::scratch_bytes(DType::F32, part.count, part.count,
                                                   {dim, heads, heads, head_dim, 0, true}, true));
        Projections::forward(queue, {out, out, out}, part_of(normed, part), weights, angles, {}, scratch);
        Heads::merge(queue, part_of(k, part), out);
        Heads::split(queue, d_out, part_of(d_k, part));
        Projections::backward(queue, part_of(d_normed, part), d, {d_out, d_out, d_out}, part_of(normed, part), weights,
                              angles, {}, scratch);
      },
      [&] {
        std::vector<Exact> all;
        for (const auto& one : {k.data, d_normed.data})
          for (const float value : one) all.emplace_back(static_cast<double>(value));
        for (const Sums* sums : {&d_q_gain, &d_k_gain}) all.insert(all.end(), sums->data.begin(), sums->data.end());
        return all;
      });
}

}  // namespace
}  // namespace memring::test
