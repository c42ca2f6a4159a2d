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

TEST(Tbptt, LossesReachTheNearestMemories) {
  const BoundaryWeights weights = Tbptt::nearest(2).draw(0, 3, 6);
  for (int64_t segment = 1; segment < 6; ++segment)
    for (int64_t memory = 0; memory < segment; ++memory)
      EXPECT_EQ(weights.alive(2, segment, memory), segment - memory <= 2) << segment << ' ' << memory;
  EXPECT_EQ(weights.weight_of_alive(5), 1);
  EXPECT_TRUE(weights.closed({0, 3}) == std::vector<bool>(6));
  EXPECT_TRUE(Tbptt::full().draw(0, 3, 6).alive(0, 5, 0));
}

/// Over many sequences: the mean of I = weight times alive, and of products of two of them less their means'.
struct Moments {
  BoundaryWeights weights;
  int64_t sequences;
  double indicator(int64_t sequence, int64_t segment, int64_t memory) const {
    return weights.alive(sequence, segment, memory) ? weights.weight_of_alive(segment) : 0;
  }
  double mean(int64_t segment, int64_t memory) const {
    double sum = 0;
    for (int64_t b = 0; b < sequences; ++b) sum += indicator(b, segment, memory);
    return sum / static_cast<double>(sequences);
  }
  double covariance(int64_t s, int64_t memory_of_s, int64_t t, int64_t memory_of_t) const {
    double sum = 0;
    for (int64_t b = 0; b < sequences; ++b) sum += indicator(b, s, memory_of_s) * indicator(b, t, memory_of_t);
    return sum / static_cast<double>(sequences) - mean(s, memory_of_s) * mean(t, memory_of_t);
  }
};

// n memories stand before segment n. With the reservoir S: each has the mean 1; the same one at n1 <= n2 the covariance
// max(1, n1 / S) - 1; two of them -(n1 - S) / (S (n1 - 1)) once n1 > S.
TEST(Tbptt, AReservoirOfMemoriesHasTheMomentsOfItsFormulas) {
  constexpr int64_t kPlaces = 2, kSequences = 40000, kSegments = 10;
  const Moments moments{Tbptt::reservoir(kPlaces, 3).draw(1, kSequences, kSegments), kSequences};
  for (int64_t n = 1; n < kSegments; ++n)
    for (int64_t memory = 0; memory < n; ++memory) {
      const double variance = std::max(1.0, static_cast<double>(n) / kPlaces) - 1;
      EXPECT_NEAR(moments.mean(n, memory), 1, 5 * std::sqrt(variance / kSequences) + 1e-12) << n << ' ' << memory;
    }
  for (const auto& [n1, n2] : {std::pair{3, 3}, {3, 6}, {6, 9}, {9, 9}}) {
    EXPECT_NEAR(moments.covariance(n1, 1, n2, 1), n1 / 2.0 - 1, 0.1) << n1 << ' ' << n2;
    EXPECT_NEAR(moments.covariance(n1, 0, n2, 2), -(n1 - 2) / (2.0 * (n1 - 1)), 0.06) << n1 << ' ' << n2;
  }
}

TEST(Tbptt, ReservoirsAreAPureFunctionOfSeedStepAndSequence) {
  const auto draw = [](uint64_t seed, int64_t step) { return Tbptt::reservoir(2, seed).draw(step, 3, 64).last; };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
  EXPECT_NE(draw(1, 2), draw(2, 2));
}

TEST(Tbptt, WhoTakesWhosePlaceInAReservoirFollowsFromItsDraws) {
  // Memory 2 takes the place of 0, 3 that of nobody, 4 that of 2.
  const std::vector<int32_t> draws = {-1, -1, 0, 3, 0};
  EXPECT_EQ(last_alive(2, draws), (std::vector<int32_t>{2, 5, 4, 3, 5}));
}

}  // namespace
}  // namespace memring
