// Sums of losses: their order, the grid of strict runs, and what they refuse.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/loss_sum/loss_sum.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "op_test.h"

namespace memring::test {
namespace {

Queue strict_queue() { return Queue({.block = 64}); }

template <class T>
double sum_of(Queue& queue, const std::vector<T>& losses, double before = 0) {
  Tensor<double> sum(Shape{1});
  Tensor<T> all(Shape{std::ssize(losses)});
  sum.data[0] = before;
  all.data = losses;
  LossSum::add(queue, sum.view(), all);
  return sum[0];
}

TEST(LossSum, AddsInDoubleAndInAscendingOrder) {
  on_queues(every_queue(), [](Queue& queue) {
    EXPECT_EQ(sum_of<double>(queue, {1e16, 1, -1e16, 1}), 1) << "any other order gives 0 or 2";
    EXPECT_EQ(sum_of<double>(queue, {-1e16, 1}, 1e16), 1) << "behind what was there";
    EXPECT_EQ(sum_of<float>(queue, {0x1p30f, 0x1p-20f}), 0x1p30 + 0x1p-20) << "fp32 would have lost the second";
    EXPECT_EQ(sum_of<float>(queue, {}, 3), 3);
    std::vector<double> many = random<double>({2500}, 1).data;
    double expected = 3;
    for (double& loss : many) expected += loss /= 3;
    EXPECT_EQ(sum_of(queue, many, 3), expected);
  });
}

TEST(LossSum, OfStrictRunsIsTheSameInAnyOrderAndInAnyParts) {
  Queue strict = strict_queue();
  const Tensor<double> numbers = random<double>({1000}, 1, 5);
  std::vector<double> losses = numbers.data;
  for (double& loss : losses) loss = std::abs(loss) / 3;  // of all bits that a double has
  const double expected = sum_of(strict, losses);
  const auto cut = losses.begin() + 300;
  EXPECT_EQ(sum_of<double>(strict, {cut, losses.end()}, sum_of<double>(strict, {losses.begin(), cut})), expected);
  std::reverse(losses.begin(), losses.end());
  EXPECT_EQ(sum_of(strict, losses), expected);
  Queue plain;
  EXPECT_NEAR(sum_of(plain, losses), expected, 1000 * 0x1p-25);
}

TEST(LossSum, OfStrictRunsRoundsEachLossToTheGrid) {
  Queue strict = strict_queue();
  for (const double loss : {0.1, 5.0 / 3, 11.0})
    EXPECT_EQ(sum_of<double>(strict, {loss}), std::nearbyint(loss * 0x1p24) * 0x1p-24);
  EXPECT_EQ(sum_of<double>(strict, {0x1p-25}), 0) << "a tie goes to the even number";
  EXPECT_EQ(sum_of<double>(strict, {0x1p-24}, 0x1p29 - 0x1p-24), 0x1p29) << "exact up to there";
  EXPECT_TRUE(std::isnan(sum_of<float>(strict, {1, std::nanf("")})));
}

TEST(LossSum, RefusesShapesAndTypesThatDoNotFit) {
  Queue queue;
  Tensor<double> sum(Shape{1}), wrong(Shape{2});
  const Tensor<float> losses(Shape{3}), matrix(Shape{3, 1});
  const Tensor<Bf16> stored(Shape{3});
  EXPECT_THROW(LossSum::add(queue, wrong.view(), losses), ShapeError);
  EXPECT_THROW(LossSum::add(queue, sum.view(), matrix), ShapeError);
  EXPECT_THROW(LossSum::add(queue, sum.view(), stored), ShapeError);
}

}  // namespace
}  // namespace memring::test
