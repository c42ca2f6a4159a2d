// Gated linear unit: against the double reference, by finite differences, and what it refuses.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_unit/gated_unit.h"
#include "base/error.h"

#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, dim, ffn;
};
const Extents kExtents[] = {{1, 1, 1}, {3, 7, 5}, {65, 31, 64}, {211, 64, 257}, {0, 8, 4}};

template <class T>
struct Part {
  Tensor<T> gate, up;

  explicit Part(Shape shape) : gate(shape), up(shape) {}
  Part(Shape shape, uint64_t stream) : gate(random<float>(shape, stream)), up(random<float>(shape, stream + 1)) {}
  GatedUnit::Parts parts() { return {gate, up}; }
  GatedUnit::ConstParts parts() const { return {gate, up}; }
};

template <class T>
struct Results {
  Tensor<T> y, y_again, dx;
  Part<T> d_weights;
};

/// Forward, then backward from its parts or, `again`, from parts that were made once more.
template <class T>
Results<T> run(Queue& queue, const Tensor<T>& x, const Part<T>& weights, const Tensor<T>& dy, Part<T> before,
               bool again = false) {
  Part<T> parts(dy.shape);
  Results<T> r{Tensor<T>(dy.shape), dy, random<T>(x.shape, 9), std::move(before)};
  GatedUnit::forward(queue, r.y, parts.parts(), x, weights.parts());
  if (again) {
    parts = Part<T>(dy.shape);
    GatedUnit::products(queue, parts.parts(), x, weights.parts());
  }
  GatedUnit::backward(queue, r.dx, r.d_weights.parts(), r.y_again, parts.parts(), x, weights.parts());
  return r;
}

template <class T>
Results<T> run(Queue& queue, const Extents& e, bool again = false) {
  const Shape of_weights{e.ffn, e.dim};
  return run(queue, Tensor<T>(random<float>({e.rows, e.dim}, 1)), Part<T>(of_weights, 2),
             Tensor<T>(random<float>({e.rows, e.ffn}, 4)), Part<T>(of_weights, 5), again);
}

TEST(GatedUnit, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(fmt::format("{} rows of {}, ffn {}", e.rows, e.dim, e.ffn));
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, e);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, e);
      expect_close(found.y, expected.y, 1e-5, "y");
      expect_close(found.y_again, expected.y, 1e-5, "y by backward");
      expect_close(found.dx, expected.dx, 1e-5, "dx");
      expect_close(found.d_weights.gate, expected.d_weights.gate, 1e-5, "gradient of the gate's weights");
      expect_close(found.d_weights.up, expected.d_weights.up, 1e-5, "gradient of up's weights");
    });
  }
}

TEST(GatedUnit, ProductsMadeAgainGiveTheSameBits) {
  on_queues(every_queue(), [](Queue& queue) {
    const Extents e{37, 24, 40};
    const auto expected = run<float>(queue, e), found = run<float>(queue, e, /*again=*/true);
    expect_same_bits(found.dx, expected.dx, "dx");
    expect_same_bits(found.d_weights.gate, expected.d_weights.gate, "gradient of the gate's weights");
    expect_same_bits(found.d_weights.up, expected.d_weights.up, "gradient of up's weights");
  });
}

TEST(GatedUnit, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1}, {3, 5, 4}}) {
    Queue queue = reference_queue();
    const Shape of_weights{e.ffn, e.dim}, of_y{e.rows, e.ffn};
    const auto at = [&](const Tensors& in, const Tensor<double>& dy) {
      Part<double> weights(of_weights);
      weights.gate = in[1];
      weights.up = in[2];
      return run(queue, in[0], weights, dy, Part<double>(of_weights));
    };
    const Differentiable unit{[&](const Tensors& in) { return Tensors{at(in, Tensor<double>(of_y)).y}; },
                              [&](const Tensors& in, const Tensors& d) {
                                const auto r = at(in, d[0]);
                                return Tensors{r.dx, r.d_weights.gate, r.d_weights.up};
                              }};
    expect_gradient(unit,
                    {random<double>({e.rows, e.dim}, 1), random<double>(of_weights, 2), random<double>(of_weights, 3)});
  }
}

TEST(GatedUnit, RefusesShapesThatDoNotFit) {
  Queue queue;
  Part<float> parts(Shape{3, 4});
  const Part<float> weights(Shape{4, 5}), wrong(Shape{5, 4});
  Tensor<float> x(Shape{3, 5}), y(Shape{3, 4});
  EXPECT_THROW(GatedUnit::products(queue, parts.parts(), x, wrong.parts()), ShapeError);
  EXPECT_THROW(GatedUnit::forward(queue, x, parts.parts(), x, weights.parts()), ShapeError);
  Part<float> d_weights(Shape{4, 5});
  EXPECT_THROW(GatedUnit::backward(queue, y, d_weights.parts(), y, parts.parts(), x, weights.parts()), ShapeError);
}

}  // namespace
}  // namespace memring::test
