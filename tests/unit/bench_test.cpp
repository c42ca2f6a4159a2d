// What benchmarks say of their measurements: medians, intervals, budgets.
// SPDX-License-Identifier: Apache-2.0
#include "bench/bench.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/random.h"

namespace memring {
namespace {

TEST(Spread, IsTheMedianAndTheRangeOfFewValues) {
  const Spread one = spread_of({3}), four = spread_of({4, 1, 2, 9});
  EXPECT_EQ(one.median, 3);
  EXPECT_EQ(one.low, 3);
  EXPECT_EQ(one.high, 3);
  EXPECT_EQ(four.median, 3);
  EXPECT_EQ(four.low, 1);
  EXPECT_EQ(four.high, 9);
}

TEST(Spread, OfNineValuesLeavesOutOneAtEitherEnd) {
  const Spread nine = spread_of({9, 8, 7, 6, 5, 4, 3, 2, 1});
  EXPECT_EQ(nine.median, 5);
  EXPECT_EQ(nine.low, 2);
  EXPECT_EQ(nine.high, 8);
}

TEST(Spread, HoldsTheTrueMedianInAtLeast95OfAHundredCases) {
  constexpr int kTrials = 4000;
  for (const uint32_t count : {6u, 9u, 15u, 40u}) {
    int held = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const Random random(1, Purpose::Test, static_cast<uint64_t>(trial), count);
      std::vector<double> values;
      for (uint32_t i = 0; i < count; ++i) values.push_back(random.normal(i) < 0 ? -1 - random.uniform(i + 1000) : 1);
      const Spread spread = spread_of(values);
      held += spread.low <= 0 && spread.high >= 0;
    }
    EXPECT_GE(held, kTrials * 0.94) << count << " values";
    EXPECT_LE(held, kTrials * 0.995) << count << " values";
  }
}

TEST(Figure, MissesItsBudgetOnlyWithItsWholeInterval) {
  const auto missed = [](Budget::Kind kind, Spread value) {
    return Figure{"stall", "%", value, Budget{kind, 2}}.missed();
  };
  EXPECT_FALSE(missed(Budget::Kind::AtMost, {3, 1.9, 4}));
  EXPECT_TRUE(missed(Budget::Kind::AtMost, {3, 2.1, 4}));
  EXPECT_FALSE(missed(Budget::Kind::AtLeast, {1, 0.5, 2.1}));
  EXPECT_TRUE(missed(Budget::Kind::AtLeast, {1, 0.5, 1.9}));
  EXPECT_FALSE((Figure{"stall", "%", {3, 3, 3}}).missed());
}

TEST(BenchResult, SaysTheSameForPeopleAndAsJson) {
  const BenchResult result{{{"machine", "a \"quoted\" CPU"}},
                           {{"stall", "%", {3, 2.5, 4}, Budget{Budget::Kind::AtMost, 2}}}};
  const std::string table = to_table(result);
  for (const char* part : {"stall", "2.5 .. 4", "at most 2: MISSED", "a \"quoted\" CPU"})
    EXPECT_NE(table.find(part), std::string::npos) << part << " is not in\n" << table;
  const auto json = nlohmann::json::parse(to_json(find_benchmark("checkpoint"), result));
  EXPECT_EQ(json["benchmark"], "checkpoint");
  EXPECT_EQ(json["setting"]["machine"], "a \"quoted\" CPU");
  EXPECT_EQ(json["figures"][0]["median"], 3);
  EXPECT_EQ(json["figures"][0]["at_most"], 2);
  EXPECT_EQ(json["figures"][0]["missed"], true);
}

TEST(Benchmarks, PresetsAreValidConfigurations) {
  for (const Benchmark& benchmark : benchmarks()) EXPECT_NO_THROW(parse_config(benchmark.preset, "preset"));
}

}  // namespace
}  // namespace memring
