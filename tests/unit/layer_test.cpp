// A layer whose projections have low-rank updates is the layer of the merged weights, and layers over one base may have
// other updates of it.
// SPDX-License-Identifier: Apache-2.0
#include "model/layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace memring {
namespace {

constexpr int64_t kRank = 3;
constexpr double kScale = 1.7;
const ModelShape kShape{.dim = 12, .heads = 4, .kv_heads = 2, .head_dim = 4, .ffn = 20};
constexpr CellExtent kExtent{.batch = 2, .rows = 6};

using Numbers = std::vector<double>;

Numbers numbers(ConstView<> view) { return {view.as<double>(), view.as<double>() + view.size()}; }

/// One base; each projection also as the weights that its update and it make together.
struct Layers {
  Params params;
  LayerTensors plain, adapted, merged;
  Arena memory;

  Layers() {
    const int64_t q = kShape.heads * kShape.head_dim, kv = kShape.kv_heads * kShape.head_dim, d = kShape.dim;
    plain.input_norm = params.declare("input_norm", {d}, {.std = 1}, false);
    plain.post_norm = params.declare("post_norm", {d}, {.std = 1}, false);
    adapted = merged = plain;
    projection(&LayerTensors::q, q, d);
    projection(&LayerTensors::k, kv, d);
    projection(&LayerTensors::v, kv, d);
    projection(&LayerTensors::o, d, q);
    projection(&LayerTensors::gate, kShape.ffn, d);
    projection(&LayerTensors::up, kShape.ffn, d);
    projection(&LayerTensors::down, d, kShape.ffn);
    Arena measure;
    params.allocate(measure, DType::F64, Params::Gradients::Plain);
    memory = Arena(measure.peak());
    params.allocate(memory, DType::F64, Params::Gradients::Plain);
    params.initialise(1, Queue());
    for (const auto part : kProjections) merge(adapted.*part, merged.*part);
  }

 private:
  void projection(Projection LayerTensors::*part, int64_t out, int64_t in) {
    (plain.*part).weight = params.declare("base", {out, in}, {.std = 0.3}, true);
    (adapted.*part) = {.weight = (plain.*part).weight,
                       .lora_a = params.declare("A", {kRank, in}, {.std = 0.3}, true),
                       .lora_b = params.declare("B", {out, kRank}, {.std = 0.3}, true),
                       .scale = kScale};
    (merged.*part).weight = params.declare("merged", {out, in}, {}, true);
  }
  void merge(const Projection& from, const Projection& to) {
    const View<> w = params.weight(from.weight), a = params.weight(from.lora_a), b = params.weight(from.lora_b);
    for (int64_t i = 0; i < w.size(); ++i) {
      const int64_t row = i / w.dim(1), column = i % w.dim(1);
      double sum = 0;
      for (int64_t r = 0; r < kRank; ++r)
        sum += b.as<double>()[row * kRank + r] * a.as<double>()[r * w.dim(1) + column];
      params.weight(to.weight).as<double>()[i] = w.as<double>()[i] + kScale * sum;
    }
  }
};

struct Result {
  Numbers output, d_input;
};

/// Forward and backward of a fixed input, by rows that all ask, or by three of them.
Result run(const Params& params, const LayerTensors& tensors, const std::vector<int32_t>& asking) {
  const int64_t n = kExtent.total(), half = kShape.head_dim / 2,
                queries = asking.empty() ? kExtent.rows : std::ssize(asking), m = kExtent.batch * queries;
  const bool adapted = tensors.q.lora_a >= 0;
  Arena measure;
  LayerSaved::carve(measure, kShape, DType::F64, kExtent, {});
  Arena kept(measure.peak()), scratch(Layer::scratch_bytes(kShape, adapted ? kRank : 0, DType::F64, kExtent, true));
  const auto tensor = [](Numbers& of) { return View<double>(of.data(), {std::ssize(of) / kShape.dim, kShape.dim}); };
  Numbers input(n * kShape.dim), output(m * kShape.dim), d_output(m * kShape.dim), d_input(n * kShape.dim);
  for (size_t i = 0; i < input.size(); ++i) input[i] = std::sin(1.0 + static_cast<double>(i));
  for (size_t i = 0; i < d_output.size(); ++i) d_output[i] = std::cos(2.0 + static_cast<double>(i));
  Numbers cosines(kExtent.rows * half, 0.6), sines(kExtent.rows * half, 0.8);
  std::vector<Row> keys(kExtent.rows), queried;
  for (int32_t i = 0; i < kExtent.rows; ++i) keys[i] = {.position = i, .order = i, .from = 0, .to = i};
  for (const int32_t row : asking) queried.push_back(keys[row]);
  const auto angles = [&](int64_t rows) {
    return RopeAngles{View<double>(cosines.data(), {1, rows, half}), View<double>(sines.data(), {1, rows, half})};
  };
  const LayerRows rows{keys, angles(kExtent.rows), asking.empty() ? keys : queried, {asking, angles(queries)}};

  const Layer layer(kShape, tensors);
  const LayerSaved saved = LayerSaved::carve(kept, kShape, DType::F64, kExtent, tensor(input)).with_queries(queries);
  Queue queue;
  LocalAttention attention;
  layer.forward(queue, params, attention, saved, tensor(output), kExtent, rows, {}, scratch);
  const bool each = asking.empty();
  layer.backward(queue, params, attention, saved, tensor(d_output), each ? tensor(d_output) : tensor(d_input), kExtent,
                 rows, {}, {}, scratch);
  EXPECT_EQ(scratch.used(), 0);
  return {output, each ? d_output : d_input};
}

void expect_near(const Numbers& found, const Numbers& expected, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  const double rms = std::sqrt(std::inner_product(expected.begin(), expected.end(), expected.begin(), 0.0) /
                               static_cast<double>(expected.size()));
  for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-12 * rms) << what << ' ' << i;
}

class LayerUpdates : public testing::TestWithParam<std::vector<int32_t>> {};
INSTANTIATE_TEST_SUITE_P(Queries, LayerUpdates, testing::Values(std::vector<int32_t>{}, std::vector<int32_t>{1, 4, 5}));

// With y = x (W + s B A)ᵀ:  dB = s dW Aᵀ  and  dA = s Bᵀ dW,  for dW of the merged weights.
TEST_P(LayerUpdates, AreThoseOfTheMergedWeightsForwardAndBackward) {
  Layers layers;
  const Result adapted = run(layers.params, layers.adapted, GetParam());
  const Result merged = run(layers.params, layers.merged, GetParam());
  expect_near(adapted.output, merged.output, "output");
  expect_near(adapted.d_input, merged.d_input, "d_input");
  for (const auto part : kProjections) {
    const Projection& own = layers.adapted.*part;
    const Numbers dw = numbers(layers.params.grad((layers.merged.*part).weight)),
                  a = numbers(layers.params.weight(own.lora_a)), b = numbers(layers.params.weight(own.lora_b));
    const int64_t in = std::ssize(a) / kRank, out = std::ssize(b) / kRank;
    Numbers da(a.size()), db(b.size());
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t r = 0; r < kRank; ++r) {
          da[r * in + i] += kScale * b[o * kRank + r] * dw[o * in + i];
          db[o * kRank + r] += kScale * dw[o * in + i] * a[r * in + i];
        }
    const std::string name = layers.params.layout().entries[own.weight].shape.text();
    expect_near(numbers(layers.params.grad(own.weight)), dw, "dW " + name);
    expect_near(numbers(layers.params.grad(own.lora_a)), da, "dA " + name);
    expect_near(numbers(layers.params.grad(own.lora_b)), db, "dB " + name);
  }
}

TEST_P(LayerUpdates, LeaveAnotherLayerOverTheSameBaseAlone) {
  Layers layers;
  const Result before = run(layers.params, layers.plain, GetParam());
  EXPECT_NE(run(layers.params, layers.adapted, GetParam()).output, before.output);
  EXPECT_EQ(run(layers.params, layers.plain, GetParam()).output, before.output);
}

}  // namespace
}  // namespace memring
