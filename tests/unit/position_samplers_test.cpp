// Position samplers against the table of specs (code form), their own invariants, and the coverage theorem of CREAM.
// SPDX-License-Identifier: Apache-2.0
#include "data/position_samplers.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "base/random.h"
#include "data/distances.h"

namespace memring {
namespace {

std::vector<int32_t> ids_of(const IdRuns& runs) {
  std::vector<int32_t> ids(static_cast<size_t>(count_of(runs)));
  write_ids(runs, ids);
  return ids;
}

std::vector<int32_t> plain_ids(int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(Cream, CodeFormHasTheReleasedNumbers) {
  struct Row {
    int64_t window, factor, ends;
    double u;
    int64_t r, low, high, begin_at_low, begin_at_high;
  };
  for (const Row& row : std::initializer_list<Row>{
           {96, 4, 32, 0.05, 2, 63, 63, 32, 32},
           {96, 4, 32, 0.3, 3, 78, 111, 47, 80},
           {96, 4, 32, 0.7, 6, 125, 255, 94, 224},
           {96, 4, 32, 0.95, 8, 156, 351, 125, 320},
           {96, 4, 16, 0.3, 3, 110, 127, 47, 64},
           {96, 4, 16, 0.7, 6, 205, 271, 142, 208},
           {96, 4, 16, 0.95, 8, 268, 367, 205, 304},
           {4096, 8, 1365, 0.005, 2, 2730, 2730, 1365, 1365},
           {4096, 8, 1365, 0.05, 4, 4095, 6826, 2730, 5461},
           {4096, 8, 1365, 0.3, 7, 6142, 12970, 4777, 11605},
           {4096, 8, 1365, 0.7, 10, 8190, 19114, 6825, 17749},
           {4096, 8, 1365, 0.95, 13, 10237, 25258, 8872, 23893},
           {4096, 8, 1365, 0.995, 16, 12285, 31402, 10920, 30037},
           {4096, 8, 32, 0.05, 4, 8094, 8159, 4063, 4128},
           {4096, 8, 32, 0.3, 7, 14140, 14303, 10109, 10272},
           {4096, 8, 32, 0.7, 10, 20187, 20447, 16156, 16416},
           {4096, 8, 32, 0.95, 13, 26233, 26591, 22202, 22560},
           {4096, 8, 32, 0.995, 16, 32280, 32735, 28249, 28704},
       }) {
    SCOPED_TRACE(testing::Message() << "window " << row.window << " ends " << row.ends << " u " << row.u);
    const Cream cream{.window = row.window, .factor = row.factor};
    EXPECT_EQ(cream.half_steps(row.u), row.r);
    const auto [low, high] = cream.middle_ends(row.ends, row.r);
    EXPECT_EQ(low, row.low);
    EXPECT_EQ(high, row.high);
    EXPECT_EQ(cream.positions(row.ends, low)[1].begin, row.begin_at_low);
    EXPECT_EQ(cream.positions(row.ends, high)[1].begin, row.begin_at_high);
    EXPECT_TRUE(row.ends == cream.relativity_ends() || row.ends == cream.continuity_ends());
  }
}

TEST(Cream, ClampsWhatLiesOutsideTheGridAndTruncates) {
  // The inverse of 0.3 and 0.7 is 3.4268 and 6.5732: rounding would give 3 and 7.
  const Cream code{.window = 96, .factor = 4};
  EXPECT_EQ(code.half_steps(0), 2);
  EXPECT_EQ(code.half_steps(0.15), 2);
  EXPECT_EQ(code.half_steps(0.86), 8);
  const Cream renormalised{.window = 96, .factor = 4, .form = CreamForm::Renormalised};
  EXPECT_EQ(renormalised.half_steps(0), 2);
  EXPECT_EQ(renormalised.half_steps(0.15), 3);
  EXPECT_EQ(renormalised.half_steps(0.5), 5);
  EXPECT_EQ(renormalised.half_steps(0.85), 7);
  EXPECT_EQ(renormalised.half_steps(1 - 0x1p-53), 8);
}

TEST(Cream, HasThreeAscendingRunsFromZeroToTheTargetsLast) {
  const Random draws(1, Purpose::Test);
  uint32_t next = 0;
  for (const Cream& cream :
       {Cream{.window = 24, .factor = 2}, Cream{.window = 100, .factor = 3}, Cream{.window = 256, .factor = 8},
        Cream{.window = 257, .factor = 16}, Cream{.window = 64, .factor = 7, .form = CreamForm::Renormalised}})
    for (int i = 0; i < 4000; ++i) {
      const int64_t ends = i % 2 == 0 ? cream.relativity_ends() : 3;
      const int64_t r = cream.half_steps(draws.uniform(next++));
      ASSERT_TRUE(r >= 2 && r <= 2 * cream.factor) << r;
      const auto [low, high] = cream.middle_ends(ends, r);
      ASSERT_LE(low, high);
      const int64_t end = low + static_cast<int64_t>(draws.below(next++, static_cast<uint64_t>(high - low + 1)));
      const IdRuns runs = cream.positions(ends, end);
      ASSERT_EQ(count_of(runs), cream.window);
      ASSERT_EQ(runs.front().begin, 0);
      ASSERT_EQ(runs.back().end, cream.target());
      ASSERT_TRUE(runs[0].end <= runs[1].begin && runs[1].end <= runs[2].begin) << "middle ends at " << end;
    }
}

TEST(Cream, OfFactorOneIsPlain) {
  for (const double u : {0.0, 0.3, 0.5, 0.99})
    for (const int64_t ends : {1, 5, 16}) {
      const Cream cream{.window = 48, .factor = 1};
      const auto [low, high] = cream.middle_ends(ends, cream.half_steps(u));
      EXPECT_EQ(low, high);
      EXPECT_EQ(ids_of(cream.positions(ends, low)), plain_ids(48));
      EXPECT_EQ(ids_of(cream.tokens(ends, low, 48)), plain_ids(48));
    }
}

TEST(Cream, TakesNoTokenTwiceAndKeepsTheMiddleWithItsPositions) {
  const Cream cream{.window = 24, .factor = 4};
  constexpr int64_t kEnds = 8;
  for (const int64_t document : {25, 40, 96, 400})
    for (int64_t end = 15; end < 88; ++end) {
      SCOPED_TRACE(testing::Message() << "document " << document << ", middle ends at " << end);
      const IdRuns tokens = cream.tokens(kEnds, end, document);
      const auto ids = ids_of(tokens);
      EXPECT_EQ(std::set<int32_t>(ids.begin(), ids.end()).size(), 24U);
      EXPECT_EQ(tokens[0], (Range{0, kEnds}));
      EXPECT_EQ(tokens[2], (Range{document - kEnds, document}));
      EXPECT_GE(tokens[1].begin, kEnds);
      EXPECT_EQ(tokens[1].end, std::min(end + 1, document - kEnds));
    }
}

// Specification, 2.1: |D| is largest exactly where the middle is clear of both ends and of the centre, and is then
// mx + 2 N - 2.
TEST(Cream, CoversMostDistancesExactlyWhereTheTheoremSays) {
  struct Setting {
    int64_t window, factor, ends;
  };
  for (const auto& [window, factor, ends] :
       std::initializer_list<Setting>{{12, 8, 4}, {12, 10, 2}, {15, 12, 5}, {16, 9, 3}, {21, 10, 7}}) {
    const Cream cream{.window = window, .factor = factor};
    const int64_t target = cream.target(), middle = window - 2 * ends, most = std::max(ends, middle) - 1;
    for (int64_t begin = ends; begin + middle <= target - ends; ++begin) {
      SCOPED_TRACE(testing::Message() << "window " << window << ", ends " << ends << ", middle from " << begin);
      const int64_t end = begin + middle - 1;
      const IdRuns runs = cream.positions(ends, end);
      std::set<int64_t> distances;
      const auto ids = ids_of(runs);
      for (const int32_t a : ids)
        for (const int32_t b : ids)
          if (a >= b) distances.insert(a - b);
      int64_t counted = 0;
      for (const Range& range : distances_of(runs)) counted += range.size();
      EXPECT_EQ(counted, std::ssize(distances));
      const bool clear = (most + ends - 1 < begin && 2 * end < target - ends) ||
                         (target + ends - 2 < 2 * begin && end < target - ends - most);
      const int64_t bound = most + 2 * window - 2;
      EXPECT_LE(std::ssize(distances), bound);
      EXPECT_EQ(std::ssize(distances) == bound, clear);
    }
  }
}

TEST(Pose, HasTwoRunsOfWhichTheFirstBeginsAtZero) {
  EXPECT_EQ(ids_of(pose_positions(6, 2, 10)), (std::vector<int32_t>{0, 1, 12, 13, 14, 15}));
  EXPECT_EQ(ids_of(pose_positions(6, 3, 0)), plain_ids(6));
  EXPECT_EQ(ids_of(pose_tokens(6, 2, 20)), (std::vector<int32_t>{0, 1, 16, 17, 18, 19}));
}

TEST(LongRecipe, KeepsSentencesTogether) {
  const std::vector<int32_t> text{5, 9, 1, 7, 2, 2, 8}, split{1, 2};
  EXPECT_EQ(sentence_lengths(text, split), (std::vector<int64_t>{3, 2, 1, 1}));
  EXPECT_EQ(sentence_lengths(text, {}), (std::vector<int64_t>{7}));
  std::vector<int32_t> ids(7);
  longrecipe_spread(std::vector<int64_t>{3, 2, 1, 1}, std::vector<int64_t>{4, 5, 7, 8}, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2, 7, 8, 10, 11}));
  longrecipe_positions(4, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2, 3, 8, 10, 11}));
}

TEST(DistanceCoverage, CountsSamplesByDistance) {
  EXPECT_EQ(runs_of(std::vector<int32_t>{0, 1, 2, 7, 9, 10}), (IdRuns{{0, 3}, {7, 8}, {9, 11}}));
  DistanceCoverage coverage(12);
  coverage.add({{0, 2}, {8, 9}});  // 0 1 7 8
  coverage.add({{0, 1}, {4, 7}});  // 0 1 2 4 5 6
  EXPECT_DOUBLE_EQ(coverage.covered_share(), 8.0 / 12);
  EXPECT_DOUBLE_EQ(coverage.mean_share(), 10.0 / 24);
  const auto shares = coverage.shares(3);
  EXPECT_DOUBLE_EQ(shares[0], 5.0 / 8);
  EXPECT_DOUBLE_EQ(shares[1], 4.0 / 8);
  EXPECT_DOUBLE_EQ(shares[2], 1.0 / 8);
}

}  // namespace
}  // namespace memring
