// Linear layer with bias and low-rank update: against the double reference, against Linear with the merged weight, by
// finite differences, with frozen parts, and what it refuses.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear_layer/linear_layer.h"

#include <algorithm>

#include "base/profile.h"
#include "kernels/linear/linear.h"
#include "layer_parameters.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, in, out;
  Added added{};
};
const Extents kExtents[] = {{1, 1, 1, {.bias = true, .rank = 1}},
                            {3, 7, 5, {.bias = true}},
                            {65, 31, 13, {.rank = 2, .scale = 0.7}},
                            {0, 5, 3, {.bias = true, .rank = 3}},
                            {331, 64, 49, {.bias = true, .rank = 7, .scale = -3}}};

template <class T>
struct Results {
  Tensor<T> y, dx;
  LayerParameters<T> d;
};
template <class T>
Results<T> run(Queue& queue, const Extents& e, Write write) {
  const auto x = random<T>({e.rows, e.in}, 1), dy = random<T>({e.rows, e.out}, 2);
  const LayerParameters<T> layer(e.out, e.in, e.added, 3);
  Results<T> r{random<T>(dy.shape, 4), random<T>(x.shape, 5), {e.out, e.in, e.added, 6}};
  Scratch scratch(LinearLayer::scratch_bytes(dtype_of<T>(), e.rows, e.added.rank));
  LinearLayer::forward(queue, r.y, write, x, layer.weights(), scratch);
  LinearLayer::input_gradient(queue, r.dx, write, dy, layer.weights(), scratch);
  LinearLayer::weight_gradients(queue, r.d.gradients(), dy, x, layer.weights(), scratch);
  EXPECT_EQ(scratch.used(), 0);
  return r;
}

TEST(LinearLayer, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents)
    for (const Write write : {Write::Overwrite, Write::Accumulate}) {
      SCOPED_TRACE(fmt::format("rows {}, in {}, out {}, {}", e.rows, e.in, e.out, e.added.text()));
      Queue oracle = reference_queue();
      const auto expected = run<double>(oracle, e, write);
      on_queues(every_queue(), [&](Queue& queue) {
        const auto found = run<float>(queue, e, write);
        expect_close(found.y, expected.y, 5e-6, "y");
        expect_close(found.dx, expected.dx, 5e-6, "dx");
        expect_close(found.d, expected.d, 5e-6, "gradient of the parameters");
      });
    }
}

TEST(LinearLayer, IsThatOfTheMergedWeightAndTheBias) {
  const Added added{.bias = true, .rank = 3, .scale = 0.3};
  const Extents e{5, 7, 4, added};
  Queue queue = reference_queue();
  const auto found = run<double>(queue, e, Write::Overwrite);
  const auto x = random<double>({e.rows, e.in}, 1), dy = random<double>({e.rows, e.out}, 2);
  const LayerParameters<double> layer(e.out, e.in, added, 3);
  Tensor<double> merged = layer.weight, y(dy.shape), dx(x.shape), d_bias = LayerParameters<double>(4, 7, added, 6).bias;
  for (int64_t o = 0; o < e.out; ++o)
    for (int64_t i = 0; i < e.in; ++i)
      for (int64_t k = 0; k < added.rank; ++k)
        merged[o * e.in + i] += added.scale * layer.lora_b[o * added.rank + k] * layer.lora_a[k * e.in + i];
  Linear::forward(queue, y, Write::Overwrite, x, merged);
  Linear::input_gradient(queue, dx, Write::Overwrite, dy, merged);
  for (int64_t r = 0; r < e.rows; ++r)
    for (int64_t o = 0; o < e.out; ++o) {
      y[r * e.out + o] += layer.bias[o];
      d_bias[o] += dy[r * e.out + o];
    }
  expect_close(found.y, y, 1e-14, "y");
  expect_close(found.dx, dx, 1e-14, "dx");
  expect_close(found.d.bias, d_bias, 1e-14, "gradient of the bias");
}

TEST(LinearLayer, WithoutAdditionsIsLinearBitForBit) {
  const Extents e{67, 33, 29};
  const auto x = random<float>({e.rows, e.in}, 1), dy = random<float>({e.rows, e.out}, 2);
  for (const Write write : {Write::Overwrite, Write::Accumulate})
    on_queues(every_queue(), [&](Queue& queue) {
      const LayerParameters<float> layer(e.out, e.in, {}, 3);
      auto y = random<float>(dy.shape, 4), dx = random<float>(x.shape, 5), dw = random<float>({e.out, e.in}, 6);
      Linear::forward(queue, y, write, x, layer.weight);
      Linear::input_gradient(queue, dx, write, dy, layer.weight);
      Linear::weight_gradient(queue, dw, dy, x);
      const auto found = run<float>(queue, e, write);
      expect_same_bits(found.y, y, "y");
      expect_same_bits(found.dx, dx, "dx");
      expect_same_bits(found.d.weight, dw, "dw");
    });
}

TEST(LinearLayer, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1}, {3, 5, 4}})
    for (const Added& added : kEachAdded) {
      SCOPED_TRACE(added.text());
      Queue queue = reference_queue();
      Tensor<double> x = random<double>({e.rows, e.in}, 1);
      LayerParameters<double> layer(e.out, e.in, added, 3);
      const std::vector<std::vector<Tensor<double>*>> inputs{{&x}, layer.parts()};
      Scratch scratch(LinearLayer::scratch_bytes(DType::F64, e.rows, added.rank));
      const Differentiable operation{
          [&](const Tensors& in) {
            set_listed(inputs, in);
            Tensor<double> y(Shape{e.rows, e.out});
            LinearLayer::forward(queue, y, Write::Overwrite, x, layer.weights(), scratch);
            return Tensors{y};
          },
          [&](const Tensors& in, const Tensors& dy) {
            set_listed(inputs, in);
            Tensor<double> dx(x.shape);
            LayerParameters<double> d = zeros(layer);
            LinearLayer::input_gradient(queue, dx, Write::Overwrite, dy[0], layer.weights(), scratch);
            LinearLayer::weight_gradients(queue, d.gradients(), dy[0], x, layer.weights(), scratch);
            return listed({{&dx}, d.parts()});
          }};
      expect_gradient(operation, listed(inputs));
    }
}

std::vector<std::string> operators_of(const Profile& profile) {
  std::vector<std::string> names;
  for (const Profile::Line& line : profile.lines())
    for (int64_t call = 0; call < line.calls; ++call) names.emplace_back(line.name);
  std::sort(names.begin(), names.end());
  return names;
}

TEST(LinearLayer, ComputesNothingForWhatIsFrozen) {
  const Extents e{5, 7, 4};
  const Added all{.bias = true, .rank = 3};
  const auto x = random<float>({e.rows, e.in}, 1), dy = random<float>({e.rows, e.out}, 2);
  const LayerParameters<float> layer(e.out, e.in, all, 3);
  on_queues(every_queue(), [&](Queue& queue) {
    LayerParameters<float> expected(e.out, e.in, all, 6);
    Scratch scratch(LinearLayer::scratch_bytes(DType::F32, e.rows, all.rank));
    LinearLayer::weight_gradients(queue, expected.gradients(), dy, x, layer.weights(), scratch);
    using Names = std::vector<std::string>;
    const auto only = [&](auto part, const Names& operators) {
      LayerParameters<float> found(e.out, e.in, all, 6);
      LinearLayer::Gradients some;
      if (part) some.*part = found.gradients().*part;
      Profile profile;
      queue.set_profile(&profile);
      LinearLayer::weight_gradients(queue, some, dy, x, layer.weights(), scratch);
      queue.set_profile(nullptr);
      EXPECT_EQ(operators_of(profile), operators);
      return found;
    };
    using G = LinearLayer::Gradients;
    only(static_cast<View<> G::*>(nullptr), {});
    expect_same_bits(only(&G::weight, {"Linear weight gradient"}).weight, expected.weight, "weight");
    expect_same_bits(only(&G::bias, {"MoveRows sum"}).bias, expected.bias, "bias");
    expect_same_bits(only(&G::lora_a, {"Linear input gradient", "Linear weight gradient"}).lora_a, expected.lora_a,
                     "A");
    expect_same_bits(only(&G::lora_b, {"Linear forward", "Linear weight gradient"}).lora_b, expected.lora_b, "B");
  });
}

TEST(LinearLayer, RefusesWhatDoesNotFit) {
  Queue queue;
  constexpr int64_t rows = 3, in = 5, out = 4, rank = 2;
  struct Case {
    Tensor<float> x = Tensor<float>(Shape{rows, in}), y = Tensor<float>(Shape{rows, out});
    LayerParameters<float> layer{out, in, {.bias = true, .rank = rank}, 1}, d = layer;
  };
  Scratch scratch(LinearLayer::scratch_bytes(DType::F32, rows, rank));
  const auto forward = [&](Case& c) {
    LinearLayer::forward(queue, c.y, Write::Overwrite, c.x, c.layer.weights(), scratch);
  };
  const auto gradients = [&](Case& c) {
    LinearLayer::weight_gradients(queue, c.d.gradients(), c.y, c.x, c.layer.weights(), scratch);
  };
  const auto refused = [&](const auto& run, const std::function<void(Case&)>& spoil) {
    Case spoilt;
    spoil(spoilt);
    EXPECT_THROW(run(spoilt), ShapeError);
    return message_of([&] { run(spoilt); });
  };
  using Spoilt = Tensor<float>;
  for (const std::function<void(Case&)>& spoil :
       std::vector<std::function<void(Case&)>>{[](Case& c) {
                                                 c.x = Spoilt(Shape{rows, in + 1});
                                               },
                                               [](Case& c) {
                                                 c.y = Spoilt(Shape{rows + 1, out});
                                               },
                                               [](Case& c) { c.layer.bias = Spoilt(Shape{out + 1}); },
                                               [](Case& c) {
                                                 c.layer.lora_a = Spoilt(Shape{rank, in + 1});
                                               },
                                               [](Case& c) {
                                                 c.layer.lora_b = Spoilt(Shape{out, rank + 1});
                                               },
                                               [](Case& c) { c.layer.lora_a = {}; }}) {
    refused(forward, spoil);
    refused(gradients, spoil);
  }
  refused(gradients, [](Case& c) { c.d.bias = Spoilt(Shape{out + 1}); });
  refused(gradients, [](Case& c) { c.d.lora_b = Spoilt(Shape{out, rank + 1}); });
  refused(gradients, [](Case& c) { c.layer.bias = {}; });
  refused(gradients, [](Case& c) { c.layer.lora_a = c.layer.lora_b = {}; });
  EXPECT_EQ(refused(forward, [](Case& c) { c.layer.bias = Spoilt(Shape{out + 1}); }),
            "LinearLayer bias: expected fp32[4], found fp32[5]");
  EXPECT_EQ(refused(forward, [](Case& c) { c.layer.lora_a = {}; }),
            "LinearLayer: a low-rank update has two matrices, found B fp32[4, 2] alone");
}

}  // namespace
}  // namespace memring::test
