// What benchmarks say of their measurements: medians, intervals, budgets.
// SPDX-License-Identifier: Apache-2.0
#include "bench/bench.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/profile.h"
#include "base/random.h"
#include "bench/step_flops.h"
#include "kernels/linear/linear.h"

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

// Counted by hand: DESIGN.md, section 10.
TEST(StepFlops, AreSixForEachWeightAndRowAndTheVisibleHalfOfAttention) {
  const std::vector<std::string> model = {"model.layers=2",   "model.dim=8",      "model.heads=4",
                                          "model.kv_heads=2", "model.head_dim=4", "model.ffn=16",
                                          "model.vocab=32",   "data.batch=3",     "data.length=10"};
  const double layer = 8 * 16 + 2 * 8 * 8 + 16 * 8 + 3 * 8 * 16;  // q, k and v, o, MLP
  const double plain = 3 * (2 * (6 * layer * 10 + 12 * 16 * 55) + 6 * 8 * 32 * 10);
  EXPECT_EQ(step_flops(load_config("", model)), plain);

  auto with_memory = model;
  with_memory.insert(with_memory.end(), {"memory.kind=rmt", "memory.tokens=2", "segment.length=6"});
  // Two segments of 6 and 4 text rows between two memory rows on either side; the head sees text only.
  const double rmt = 3 * (2 * (6 * layer * (10 + 8) + 12 * 16 * (10 * 11 / 2 + 8 * 9 / 2)) + 6 * 8 * 32 * 10);
  EXPECT_EQ(step_flops(load_config("", with_memory)), rmt);
}

TEST(Profile, NotesFlopsAndBytesOfWhatRunsWhileItIsAttached) {
  std::vector<float> memory(2 * 3 + 4 * 3 + 2 * 4);
  const View<float> x(memory.data(), {2, 3}), w(memory.data() + 6, {4, 3}), y(memory.data() + 18, {2, 4});
  Queue queue;
  Profile profile;
  Linear::forward(queue, y, Write::Overwrite, x, w);
  queue.set_profile(&profile);
  for (int i = 0; i < 2; ++i) Linear::forward(queue, y, Write::Overwrite, x, w);
  queue.set_profile(nullptr);
  Linear::forward(queue, y, Write::Overwrite, x, w);
  const auto lines = profile.lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].name, "Linear forward");
  EXPECT_EQ(lines[0].calls, 2);
  EXPECT_EQ(lines[0].flops, 2 * 2 * 2 * 3 * 4);
  EXPECT_EQ(lines[0].bytes, 2 * 4 * (6 + 12 + 8));
  EXPECT_GT(lines[0].seconds, 0);
}

TEST(Benchmarks, PresetsAreValidConfigurations) {
  for (const Benchmark& benchmark : benchmarks()) EXPECT_NO_THROW(parse_config(benchmark.preset, "preset"));
}

}  // namespace
}  // namespace memring
