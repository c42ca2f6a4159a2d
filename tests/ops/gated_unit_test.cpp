// Gated linear unit: against the double reference, by finite differences, and what it refuses.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_unit/gated_unit.h"
#include "base/error.h"

#include "layer_parameters.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, dim, ffn;
  Added added{};  ///< to each layer
};
const Extents kExtents[] = {{1, 1, 1},
                            {3, 7, 5},
                            {65, 31, 64},
                            {211, 64, 257},
                            {0, 8, 4},
                            {65, 31, 64, {.bias = true}},
                            {65, 31, 64, {.rank = 2, .scale = 0.7}},
                            {67, 30, 41, {.bias = true, .rank = 3}},
                            {0, 8, 4, {.bias = true, .rank = 3}}};

template <class T>
struct Part {
  Tensor<T> gate, up;

  explicit Part(Shape shape) : gate(shape), up(shape) {}
  GatedUnit::Parts parts() { return {gate, up}; }
};

template <class T>
struct Layers {
  LayerParameters<T> gate, up;

  Layers(const Extents& e, uint64_t stream)
      : gate(e.ffn, e.dim, e.added, stream), up(e.ffn, e.dim, e.added, stream + 1) {}
  GatedUnit::Weights weights() const { return {gate.weights(), up.weights()}; }
  GatedUnit::Gradients gradients() { return {gate.gradients(), up.gradients()}; }
};

template <class T>
struct Results {
  Tensor<T> y, y_again, dx;
  Layers<T> d;
};

/// Forward, then backward from its parts or, `again`, from parts that were made once more. Gradients are added to `d`.
template <class T>
Results<T> run(Queue& queue, const Extents& e, const Tensor<T>& x, const Layers<T>& layers, const Tensor<T>& dy,
               Layers<T> d, bool again = false) {
  Part<T> parts(dy.shape);
  Results<T> r{Tensor<T>(dy.shape), dy, random<T>(x.shape, 9), std::move(d)};
  Scratch scratch(LinearLayer::scratch_bytes(dtype_of<T>(), e.rows, e.added.rank));
  GatedUnit::forward(queue, r.y, parts.parts(), x, layers.weights(), scratch);
  if (again) {
    parts = Part<T>(dy.shape);
    GatedUnit::products(queue, parts.parts(), x, layers.weights(), scratch);
  }
  GatedUnit::backward(queue, r.dx, r.d.gradients(), r.y_again, parts.parts(), x, layers.weights(), scratch);
  return r;
}

template <class T>
Results<T> run(Queue& queue, const Extents& e, bool again = false) {
  return run(queue, e, random<T>({e.rows, e.dim}, 1), Layers<T>(e, 2), random<T>({e.rows, e.ffn}, 4), Layers<T>(e, 5),
             again);
}

TEST(GatedUnit, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(fmt::format("{} rows of {}, ffn {}, {}", e.rows, e.dim, e.ffn, e.added.text()));
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, e);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, e);
      expect_close(found.y, expected.y, 1e-5, "y");
      expect_close(found.y_again, expected.y, 1e-5, "y by backward");
      expect_close(found.dx, expected.dx, 1e-5, "dx");
      expect_close(found.d.gate, expected.d.gate, 1e-5, "gradient of the gate's layer");
      expect_close(found.d.up, expected.d.up, 1e-5, "gradient of up's layer");
    });
  }
}

TEST(GatedUnit, ProductsMadeAgainGiveTheSameBits) {
  on_queues(every_queue(), [](Queue& queue) {
    const Extents e{37, 24, 40, {.bias = true, .rank = 2}};
    auto expected = run<float>(queue, e), found = run<float>(queue, e, /*again=*/true);
    expect_same_bits(found.dx, expected.dx, "dx");
    for (size_t i = 0; i < expected.d.gate.parts().size(); ++i) {
      expect_same_bits(*found.d.gate.parts()[i], *expected.d.gate.parts()[i], "gradient of the gate's layer");
      expect_same_bits(*found.d.up.parts()[i], *expected.d.up.parts()[i], "gradient of up's layer");
    }
  });
}

TEST(GatedUnit, ReferenceGradientMatchesFiniteDifferences) {
  for (const auto& [rows, dim, ffn] : {std::tuple{1, 1, 1}, {3, 5, 4}})
    for (const Added& added : kEachAdded) {
      const Extents e{rows, dim, ffn, added};
      SCOPED_TRACE(added.text());
      Queue queue = reference_queue();
      Tensor<double> x = random<double>({e.rows, e.dim}, 1);
      Layers<double> layers(e, 2);
      const std::vector<std::vector<Tensor<double>*>> inputs{{&x}, layers.gate.parts(), layers.up.parts()};
      const auto at = [&](const Tensors& in, const Tensor<double>& dy) {
        set_listed(inputs, in);
        Layers<double> d = layers;
        d.gate = zeros(d.gate);
        d.up = zeros(d.up);
        return run(queue, e, x, layers, dy, std::move(d));
      };
      const Differentiable unit{[&](const Tensors& in) {
                                  return Tensors{at(in, Tensor<double>(Shape{e.rows, e.ffn})).y};
                                },
                                [&](const Tensors& in, const Tensors& dy) {
                                  auto r = at(in, dy[0]);
                                  return listed({{&r.dx}, r.d.gate.parts(), r.d.up.parts()});
                                }};
      expect_gradient(unit, listed(inputs));
    }
}

TEST(GatedUnit, RefusesShapesThatDoNotFit) {
  on_queues(every_queue(), [](Queue& queue) {
    Part<float> parts(Shape{3, 4});
    const Layers<float> layers({3, 5, 4}, 1), wrong({3, 4, 5}, 1);
    Layers<float> d({3, 5, 4}, 1), d_wrong({3, 4, 5}, 1);
    Tensor<float> x(Shape{3, 5}), dx(Shape{3, 5}), y(Shape{3, 4});
    Scratch scratch(0);
    EXPECT_THROW(GatedUnit::products(queue, parts.parts(), x, wrong.weights(), scratch), ShapeError);
    EXPECT_THROW(GatedUnit::forward(queue, x, parts.parts(), x, layers.weights(), scratch), ShapeError);
    EXPECT_THROW(GatedUnit::backward(queue, y, d.gradients(), y, parts.parts(), x, layers.weights(), scratch),
                 ShapeError);
    EXPECT_THROW(GatedUnit::backward(queue, dx, d_wrong.gradients(), y, parts.parts(), x, layers.weights(), scratch),
                 ShapeError);
  });
}

}  // namespace
}  // namespace memring::test
