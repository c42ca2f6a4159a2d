// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear.h"
#include "base/error.h"

#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, in, out;
};
// Single numbers, primes, multiples of the vector width, empty in each place, and large enough to be split over
// threads.
const Extents kExtents[] = {{1, 1, 1},   {3, 7, 5}, {16, 32, 48}, {17, 31, 13}, {1, 257, 3},
                            {67, 64, 1}, {0, 5, 3}, {4, 0, 3},    {4, 5, 0},    {331, 96, 127}};

/// Results of the three products, from zeros (Overwrite) or from given numbers (Accumulate).
template <class T>
struct Results {
  Tensor<T> y, dx, dw;
};
template <class T>
Results<T> run(Queue& queue, Extents e, Write write, const Tensor<float>& x, const Tensor<float>& w,
               const Tensor<float>& dy) {
  const Tensor<T> x_(x), w_(w), dy_(dy);
  Results<T> results{random<T>({e.rows, e.out}, 11), random<T>({e.rows, e.in}, 12), random<T>({e.out, e.in}, 13)};
  Linear::forward(queue, results.y, write, x_, w_);
  Linear::input_gradient(queue, results.dx, write, dy_, w_);
  Linear::weight_gradient(queue, results.dw, dy_, x_);
  return results;
}

void expect_agreement(const std::vector<Queue::Options>& queues, bool bf16) {
  for (const Extents& e : kExtents)
    for (Write write : {Write::Overwrite, Write::Accumulate}) {
      SCOPED_TRACE(fmt::format("rows {}, in {}, out {}, {}", e.rows, e.in, e.out,
                               write == Write::Accumulate ? "accumulate" : "overwrite"));
      const auto x = random<float>({e.rows, e.in}, 1), w = random<float>({e.out, e.in}, 2),
                 dy = random<float>({e.rows, e.out}, 3);
      Queue oracle = reference_queue();
      const auto expected =
          bf16 ? run<double>(oracle, e, write, rounded_to_bf16(x), rounded_to_bf16(w), rounded_to_bf16(dy))
               : run<double>(oracle, e, write, x, w, dy);
      on_queues(queues, [&](Queue& queue) {
        const auto found = run<float>(queue, e, write, x, w, dy);
        expect_close(found.y, expected.y, 2e-6, "y");
        expect_close(found.dx, expected.dx, 2e-6, "dx");
        expect_close(found.dw, expected.dw, 2e-6, "dw");
        if (bf16 || !queue.device()) return;  // on the host fp64 is the reference's
        const auto wide = run<double>(queue, e, write, x, w, dy);
        expect_close(wide.y, expected.y, 1e-14, "y in fp64");
        expect_close(wide.dx, expected.dx, 1e-14, "dx in fp64");
        expect_close(wide.dw, expected.dw, 1e-14, "dw in fp64");
      });
    }
}

TEST(Linear, AgreesWithTheDoubleReference) { expect_agreement(every_queue(), false); }

TEST(Linear, Bf16ProductsEqualTheReferenceOnRoundedOperands) {
  auto queues = every_queue();
  for (auto& options : queues) options.products = Products::Bf16;
  expect_agreement(queues, true);
}

TEST(Linear, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1}, {3, 7, 5}, {2, 16, 3}}) {
    Queue queue = reference_queue();
    const Differentiable linear{[&](const Tensors& in) {
                                  Tensor<double> y(Shape{e.rows, e.out});
                                  Linear::forward(queue, y, Write::Overwrite, in[0], in[1]);
                                  return Tensors{y};
                                },
                                [&](const Tensors& in, const Tensors& d) {
                                  Tensor<double> dx(in[0].shape), dw(in[1].shape);
                                  Linear::input_gradient(queue, dx, Write::Overwrite, d[0], in[1]);
                                  Linear::weight_gradient(queue, dw, d[0], in[0]);
                                  return Tensors{dx, dw};
                                }};
    expect_gradient(linear, {random<double>({e.rows, e.in}, 1), random<double>({e.out, e.in}, 2)});
  }
}

TEST(Linear, DoesNothingForAFrozenWeight) {
  on_queues(every_queue(), [](Queue& queue) {
    const auto x = random<float>({5, 7}, 1), dy = random<float>({5, 3}, 2);
    Linear::weight_gradient(queue, {}, dy, x);
    EXPECT_THROW(Linear::weight_gradient(queue, {}, random<float>({4, 3}, 2), x), ShapeError);
  });
}

TEST(Linear, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> x(Shape{3, 4}), w(Shape{5, 4}), y(Shape{3, 5}), wrong(Shape{3, 4});
  Tensor<double> y64(Shape{3, 5});
  EXPECT_THROW(Linear::forward(queue, wrong, Write::Overwrite, x, w), ShapeError);
  EXPECT_THROW(Linear::forward(queue, y64, Write::Overwrite, x, w), ShapeError);
  EXPECT_THROW(Linear::input_gradient(queue, x, Write::Overwrite, x, w), ShapeError);
  EXPECT_THROW(Linear::weight_gradient(queue, x, y, x), ShapeError);
  EXPECT_EQ(message_of([&] { Linear::forward(queue, wrong, Write::Overwrite, x, w); }),
            "Linear y: expected fp32[3, 5], found fp32[3, 4]");
}

}  // namespace
}  // namespace memring::test
