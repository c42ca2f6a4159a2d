// Exact sums: the same bits in any order, terms within the grid, and nothing silent beyond the range.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/exact_sum/exact_sum.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise/elementwise.h"
#include "kernels/rows/rows.h"
#include "op_test.h"

namespace memring {
namespace {

using namespace test;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

template <class T>
std::vector<Exact> sums_of(Queue& queue, const std::vector<Tensor<T>>& terms) {
  std::vector<Exact> sums(terms[0].data.size());
  for (const Tensor<T>& term : terms) ExactSum::add(queue, View<Exact>(sums.data(), term.shape), term);
  return sums;
}

template <class T>
void expect_any_order(Queue& queue) {
  // Lengths around the width of vectors; magnitudes from far below the grid to near its end.
  for (const int64_t length : {1, 7, 8, 33, 5000}) {
    std::vector<Tensor<T>> terms;
    for (uint64_t i = 0; i < 9; ++i)
      terms.push_back(random<T>({length}, i, std::pow(10.0, static_cast<double>(i * 3) - 17)));
    const std::vector<Exact> sums = sums_of(queue, terms);
    for (int64_t i = 0; i < length; ++i) {
      double expected = 0, size = 0;
      for (const Tensor<T>& term : terms) {
        expected += static_cast<double>(term[i]);
        size += std::abs(static_cast<double>(term[i]));
      }
      ASSERT_NEAR(sums[static_cast<size_t>(i)].value(), expected, 9 * Exact::kLowUnit / 2 + 1e-15 * size) << i;
    }
    std::reverse(terms.begin(), terms.end());
    EXPECT_EQ(sums_of(queue, terms), sums) << length;
    std::rotate(terms.begin(), terms.begin() + 4, terms.end());
    EXPECT_EQ(sums_of(queue, terms), sums) << length;
    // In two groups, as on two ranks.
    std::vector<Exact> left = sums_of(queue, std::vector<Tensor<T>>(terms.begin(), terms.begin() + 2));
    const std::vector<Exact> right = sums_of(queue, std::vector<Tensor<T>>(terms.begin() + 2, terms.end()));
    ExactSum::add(queue, View<Exact>(left.data(), {length}), ConstView<Exact>(right.data(), {length}));
    EXPECT_EQ(left, sums) << length;
  }
}

TEST(ExactSum, DoesNotDependOnTheOrderOfItsTerms) {
  on_queues(every_queue(), [](Queue& queue) {
    expect_any_order<float>(queue);
    expect_any_order<double>(queue);
  });
}

TEST(ExactSum, FastLoopsMakeTheReferencesBits) {
  const Tensor<float> terms = random<float>({4099}, 1, 1e4), tiny = random<float>({4099}, 2, 1e-13);
  Queue oracle = reference_queue();
  const std::vector<Exact> expected = sums_of<float>(oracle, {terms, tiny});
  on_queues(fast_queues(), [&](Queue& queue) { EXPECT_EQ(sums_of<float>(queue, {terms, tiny}), expected); });
}

TEST(ExactSum, CancellationLeavesNothingBehind) {
  on_queues(every_queue(), [](Queue& queue) {
    const Tensor<float> large = random<float>({1000}, 3, 1e7), small = random<float>({1000}, 4, 1e-3);
    Tensor<float> negative = large;
    for (float& x : negative.data) x = -x;
    EXPECT_EQ(sums_of<float>(queue, {large, small, negative}), sums_of<float>(queue, {small}));
    Tensor<float> value({1000});
    const std::vector<Exact> sums = sums_of<float>(queue, {large, small, negative});
    ExactSum::round(queue, value, Write::Overwrite, ConstView<Exact>(sums.data(), value.shape));
    for (int64_t i = 0; i < value.size(); ++i) EXPECT_NEAR(value[i], small[i], 1e-9);
  });
}

TEST(ExactSum, WhatIsBeyondTheRangeIsNotANumberWhateverElseIsAdded) {
  on_queues(every_queue(), [](Queue& queue) {
    for (const float bad : {kNan, kInf, -kInf, 0x1p29f, -0x1p29f, 3e38f})
      for (const int64_t length : {1, 40}) {
        Tensor<float> term({length}), one({length});
        std::fill(one.data.begin(), one.data.end(), 1.0f);
        term[length / 2] = bad;
        for (const std::vector<Tensor<float>>& terms :
             {std::vector{term, one, one}, std::vector{one, term, one}, std::vector{one, term, term}}) {
          const std::vector<Exact> sums = sums_of<float>(queue, terms);
          Tensor<float> value({length});
          ExactSum::round(queue, value, Write::Overwrite, ConstView<Exact>(sums.data(), value.shape));
          for (int64_t i = 0; i < length; ++i) EXPECT_EQ(std::isnan(value[i]), i == length / 2) << bad << " at " << i;
          Exact other(2.0);
          other += sums[static_cast<size_t>(length / 2)];
          EXPECT_TRUE(std::isnan(other.value())) << bad;
        }
      }
  });
}

TEST(ExactSum, TheLargestTermsDoNotOverflow) {
  const auto largest = static_cast<double>(std::nextafter(static_cast<float>(Exact::kBound), 0.0f));
  Exact sum(largest);
  double expected = largest;
  for (int doubling = 0; doubling < 25; ++doubling, expected *= 2) sum += Exact(sum);
  EXPECT_EQ(sum.value(), expected);
}

TEST(ExactSum, TakesRowsThatAreMovedThere) {
  on_queues(every_queue(), [](Queue& queue) {
    const Tensor<float> from = random<float>({2, 3, 5}, 1);
    std::vector<Exact> sums(2 * 4 * 5), expected(sums);
    const View<Exact> to(sums.data(), {2, 4, 5});
    const std::vector<int32_t> to_rows{3, 0, 3}, from_rows{1, 2, 0};
    MoveRows::run(queue, to, to_rows, Write::Accumulate, from, from_rows);
    for (int64_t b = 0; b < 2; ++b)
      for (size_t i = 0; i < to_rows.size(); ++i)
        for (int64_t j = 0; j < 5; ++j)
          expected[static_cast<size_t>((b * 4 + to_rows[i]) * 5 + j)] +=
              Exact(static_cast<double>(from[(b * 3 + from_rows[i]) * 5 + j]));
    EXPECT_EQ(sums, expected);
    EXPECT_THROW(MoveRows::run(queue, to, to_rows, Write::Overwrite, from, from_rows), ShapeError);
  });
}

TEST(ExactSum, TakesPartInElementwiseOperators) {
  on_queues(every_queue(), [](Queue& queue) {
    const Tensor<float> x = random<float>({3, 7}, 5), y = random<float>({3, 7}, 6);
    std::vector<Exact> sums(21, Exact(5.0));
    const View<Exact> view(sums.data(), {3, 7});
    Elementwise::fill(queue, view, 0);
    Elementwise::add(queue, view, view, x);
    EXPECT_EQ(sums, sums_of<float>(queue, {x}));
    Tensor<float> total = y;
    Elementwise::add(queue, total, total, view);
    for (int64_t i = 0; i < 21; ++i)
      EXPECT_EQ(total[i], y[i] + static_cast<float>(sums[static_cast<size_t>(i)].value()));
  });
}

}  // namespace
}  // namespace memring
