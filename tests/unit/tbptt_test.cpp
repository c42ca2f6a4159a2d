// Boundary weights: what each mode draws.
// SPDX-License-Identifier: Apache-2.0
#include "engine/tbptt.h"

#include <gtest/gtest.h>

#include <cmath>

namespace memring {
namespace {

TEST(Tbptt, FullKeepsEveryBoundaryAndWindowsCloseEachKth) {
  const BoundaryWeights full = Tbptt::full().draw(3, 2, 7), window = Tbptt::windows(3).draw(3, 2, 7);
  for (int64_t s = 1; s < 7; ++s) {
    EXPECT_EQ(full.at(1, s), 1);
    EXPECT_EQ(window.at(1, s), s % 3 == 0 ? 0 : 1);
  }
  EXPECT_EQ(full.closed({0, 2}), std::vector<bool>(7));
  EXPECT_EQ(window.closed({0, 2}), (std::vector<bool>{false, false, false, true, false, false, true}));
  EXPECT_EQ(Tbptt::windows(3).always_closed(7), window.closed({0, 2}));
}

TEST(Tbptt, RandomCutsHaveTheirProbabilityAndTheMeanOne) {
  constexpr double kCut = 0.25;
  constexpr int64_t kSequences = 40, kSegments = 500;
  const BoundaryWeights weights = Tbptt::unbiased(kCut, 1).draw(5, kSequences, kSegments);
  double sum = 0;
  for (int64_t b = 0; b < kSequences; ++b)
    for (int64_t s = 1; s < kSegments; ++s) {
      const double w = weights.at(b, s);
      EXPECT_TRUE(w == 0 || w == 1 / (1 - kCut)) << w;
      sum += w;
    }
  const double count = kSequences * (kSegments - 1), variance = Tbptt::unbiased(kCut, 1).path_variance(1);
  EXPECT_NEAR(variance, kCut / (1 - kCut), 1e-12);
  EXPECT_NEAR(sum / count, 1, 5 * std::sqrt(variance / count));
}

TEST(Tbptt, RandomCutsAreAPureFunctionOfSeedStepAndSequence) {
  const auto draw = [](uint64_t seed, int64_t step) { return Tbptt::unbiased(0.5, seed).draw(step, 3, 64).values; };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
  EXPECT_NE(draw(1, 2), draw(2, 2));
  const std::vector<double> values = draw(1, 2);
  EXPECT_NE(std::vector<double>(values.begin(), values.begin() + 64),
            std::vector<double>(values.begin() + 64, values.begin() + 128));
}

TEST(Tbptt, ABoundaryIsClosedWhereNoSequenceOfTheRangeCrossesIt) {
  const BoundaryWeights weights{3, {1, 0, 2, 1, 0, 0}};  // two sequences
  EXPECT_EQ(weights.closed({0, 2}), (std::vector<bool>{false, true, false}));
  EXPECT_EQ(weights.closed({1, 2}), (std::vector<bool>{false, true, true}));
  EXPECT_TRUE(Tbptt::unbiased(0.5, 1).always_closed(4) == std::vector<bool>(4));
}

}  // namespace
}  // namespace memring
