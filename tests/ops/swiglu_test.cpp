// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/swiglu.h"

#include "op_test.h"

namespace memring::test {
namespace {

const Shape kShapes[] = {{1, 1}, {3, 7}, {2, 64}, {65, 31}, {211, 257}, {0, 8}, {3, 0}};

template <class T>
struct Results {
  Tensor<T> y, d_gate, d_up, y_again;
};
template <class T>
Results<T> run(Queue& queue, Shape shape) {
  const auto gate = random<T>(shape, 1, 4), up = random<T>(shape, 2), dy = random<T>(shape, 3);
  Results<T> r{random<T>(shape, 4), random<T>(shape, 5), random<T>(shape, 6), random<T>(shape, 7)};
  SwiGlu::forward(queue, r.y, gate, up);
  SwiGlu::backward(queue, r.d_gate, r.d_up, r.y_again, dy, gate, up);
  return r;
}

TEST(SwiGlu, AgreesWithTheDoubleReference) {
  for (const Shape& shape : kShapes) {
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, shape);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, shape);
      expect_close(found.y, expected.y, 1e-6, "y");
      expect_close(found.d_gate, expected.d_gate, 1e-6, "d_gate");
      expect_close(found.d_up, expected.d_up, 1e-6, "d_up");
      expect_close(found.y_again, expected.y, 1e-6, "y by backward");
    });
  }
}

TEST(SwiGlu, LargeGatesSaturate) {
  on_queues(every_queue(), [](Queue& queue) {
    Tensor<float> gate(Shape{2, 20}), up(gate.shape), y(gate.shape), d_gate(gate.shape), d_up(gate.shape);
    for (int64_t i = 0; i < 40; ++i) gate[i] = i % 2 ? 300.0f : -300.0f, up[i] = 2;
    SwiGlu::forward(queue, y, gate, up);
    SwiGlu::backward(queue, d_gate, d_up, y, up, gate, up);
    for (int64_t i = 0; i < 40; ++i) {
      EXPECT_EQ(y[i], i % 2 ? 600.0f : 0.0f);
      EXPECT_EQ(d_gate[i], i % 2 ? 4.0f : 0.0f);
      EXPECT_EQ(d_up[i], i % 2 ? 600.0f : 0.0f);
    }
  });
}

TEST(SwiGlu, ReferenceGradientMatchesFiniteDifferences) {
  for (const Shape& shape : {Shape{1, 1}, {3, 7}, {2, 32}}) {
    Queue queue = reference_queue();
    const Differentiable swiglu{[&](const Tensors& in) {
                                  Tensor<double> y(shape);
                                  SwiGlu::forward(queue, y, in[0], in[1]);
                                  return Tensors{y};
                                },
                                [&](const Tensors& in, const Tensors& d) {
                                  Tensor<double> d_gate(shape), d_up(shape), y(shape);
                                  SwiGlu::backward(queue, d_gate, d_up, y, d[0], in[0], in[1]);
                                  return Tensors{d_gate, d_up};
                                }};
    expect_gradient(swiglu, {random<double>(shape, 1), random<double>(shape, 2)});
  }
}

TEST(SwiGlu, SameBitsForAnyThreadCount) {
  Queue one;
  const auto expected = run<float>(one, {301, 67});
  for (int threads : {2, 3, 5}) {
    Queue queue({.threads = threads});
    const auto found = run<float>(queue, {301, 67});
    expect_same_bits(found.y, expected.y, "y");
    expect_same_bits(found.d_gate, expected.d_gate, "d_gate");
    expect_same_bits(found.d_up, expected.d_up, "d_up");
    expect_same_bits(found.y_again, expected.y_again, "y by backward");
  }
}

TEST(SwiGlu, GradientsMayTakeThePlaceOfTheirInputs) {
  const Shape shape{130, 131};
  on_queues(every_queue(), [&](Queue& queue) {
    const auto gate = random<float>(shape, 1, 4), up = random<float>(shape, 2), dy = random<float>(shape, 3);
    const auto expected = run<float>(queue, shape);
    Tensor<float> a = gate, b = up, c = dy, d = dy, y = dy;
    SwiGlu::backward(queue, a, b, y, y, a, b);
    expect_same_bits(a, expected.d_gate, "d_gate in gate");
    expect_same_bits(b, expected.d_up, "d_up in up");
    expect_same_bits(y, expected.y_again, "y in dy");
    Tensor<float> other(shape), unused(shape);
    SwiGlu::backward(queue, c, other, unused, c, gate, up);
    expect_same_bits(c, expected.d_gate, "d_gate in dy");
    SwiGlu::backward(queue, other, d, unused, d, gate, up);
    expect_same_bits(d, expected.d_up, "d_up in dy");
  });
}

TEST(SwiGlu, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> a(Shape{3, 4}), b(Shape{4, 3});
  EXPECT_THROW(SwiGlu::forward(queue, a, a, b), ShapeError);
  EXPECT_THROW(SwiGlu::backward(queue, a, b, a, a, a, a), ShapeError);
}

}  // namespace
}  // namespace memring::test
