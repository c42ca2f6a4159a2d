// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/norm.h"

#include <cmath>
#include <limits>

#include "op_test.h"

namespace memring::test {
namespace {

/// Through `add`, which is there on every queue.
template <class T>
double norm(Queue& queue, const Tensor<T>& x) {
  Tensor<double> sum(Shape{1});
  sum[0] = 1;
  SquaredNorm::add(queue, sum.view(), x);
  return sum[0] - 1;
}

TEST(SquaredNorm, SumsSquaresInDouble) {
  for (const Shape& shape : {Shape{1}, {7}, {3, 31}, {100003}, {65536}, {2, 65537}, {0}, {0, 4}}) {
    const auto x = random<float>(shape, 1, 1e3);
    long double expected = 0;
    for (float value : x.data) expected += static_cast<long double>(value) * static_cast<long double>(value);
    on_queues(every_queue(), [&](Queue& queue) {
      EXPECT_NEAR(norm(queue, x), static_cast<double>(expected), 1e-12 * static_cast<double>(expected)) << shape.text();
      EXPECT_NEAR(norm(queue, Tensor<double>(x)), static_cast<double>(expected), 1e-12 * static_cast<double>(expected));
    });
  }
}

TEST(SquaredNorm, SameBitsForAnyThreadCount) {
  const auto x = random<float>({700001}, 1);
  Queue one;
  const double expected = SquaredNorm::of(one, x);
  for (int threads : {2, 3, 5, 16}) {
    Queue queue({.threads = threads});
    EXPECT_EQ(SquaredNorm::of(queue, x), expected) << threads << " threads";
  }
}

TEST(SquaredNorm, SameBitsEachTime) {
  const auto x = random<float>({20001}, 1);
  on_queues(every_queue(), [&](Queue& queue) { EXPECT_EQ(norm(queue, x), norm(queue, x)); });
}

TEST(SquaredNorm, NaNAndInfinityPassThroughAndLargeNumbersDoNotOverflow) {
  on_queues(every_queue(), [](Queue& queue) {
    auto x = random<float>({70001}, 1);
    x[69999] = 3e38f;
    EXPECT_NEAR(norm(queue, x), 9e76, 1e70);
    x[69999] = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(norm(queue, x)));
    x[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(norm(queue, x)));
  });
}

TEST(SquaredNorm, RefusesIntegers) {
  Queue queue;
  const Tensor<int32_t> x(Shape{3});
  EXPECT_THROW(SquaredNorm::of(queue, x), ShapeError);
}

}  // namespace
}  // namespace memring::test
