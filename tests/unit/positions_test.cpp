// The policy of position ids: a pure function of (seed, sample, segment) whose draws follow the exact probabilities of
// the methods' specifications.
// SPDX-License-Identifier: Apache-2.0
#include "data/positions.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "data/distances.h"
#include "files.h"

namespace memring {
namespace {

Config config_of(const std::string& kind, int64_t window, int64_t target, const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides{"positions.kind=" + kind, fmt::format("positions.target={}", target),
                                     fmt::format("data.length={}", window), "positions.head=4"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return parse_config("", "test", overrides);
}

std::vector<int32_t> ids_of(const Positions& positions, int64_t sample, int64_t segment = 0) {
  std::vector<int32_t> text(static_cast<size_t>(positions.window())), ids(text.size());
  for (size_t i = 0; i < text.size(); ++i) text[i] = i % 5 == 4 ? 10 : 97;
  positions.draw(sample, segment, text, ids);
  return ids;
}

TEST(Positions, AscendFromZeroBelowTheTargetAndDifferByEachOfTheirArguments) {
  for (const char* kind : {"cream", "pose", "randpos", "longrecipe"}) {
    SCOPED_TRACE(kind);
    const Positions positions(config_of(kind, 64, 512)), same(config_of(kind, 64, 512)),
        seeded(config_of(kind, 64, 512, {"run.seed=2"}));
    EXPECT_EQ(ids_of(positions, 5, 3), ids_of(same, 5, 3));
    EXPECT_NE(ids_of(positions, 5, 3), ids_of(seeded, 5, 3));
    EXPECT_NE(ids_of(positions, 5, 3), ids_of(positions, 6, 3));
    EXPECT_NE(ids_of(positions, 5, 3), ids_of(positions, 5, 4));
    for (int64_t sample = 0; sample < 500; ++sample) {
      const auto ids = ids_of(positions, sample);
      ASSERT_TRUE(std::ranges::is_sorted(ids, std::less_equal{})) << "sample " << sample;
      ASSERT_LT(ids.back(), 512);
      ASSERT_TRUE(ids.front() == 0 || std::string(kind) == "randpos") << ids.front();
      ASSERT_TRUE(ids.back() == 511 || std::string(kind) != "cream") << ids.back();
    }
  }
}

TEST(Positions, StayPlainInAShorterSegmentAndForATargetOfTheWindow) {
  std::vector<int32_t> plain(64), ids(40);
  std::iota(plain.begin(), plain.end(), 0);
  for (const char* kind : {"cream", "pose", "randpos", "longrecipe"}) {
    SCOPED_TRACE(kind);
    Positions(config_of(kind, 64, 512)).draw(3, 1, {}, ids);
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), plain.begin()));
    EXPECT_EQ(ids_of(Positions(config_of(kind, 64, 64)), 7), plain);
  }
}

/// The exact distribution of the last id of cream's middle.
std::map<int64_t, double> middle_end_shares(const Cream& cream, int64_t ends) {
  const auto last = 2 * cream.factor;
  const double low = cream.cdf(2), inside = cream.cdf(static_cast<double>(last)) - low;
  std::map<int64_t, double> shares;
  for (int64_t r = 2; r <= last; ++r) {
    const auto at = static_cast<double>(r);
    double share = 0;
    if (cream.form == CreamForm::Code)
      share = (r == last ? 1 : cream.cdf(at + 1)) - (r == 2 ? 0 : cream.cdf(at));
    else
      share = (cream.cdf(r == last ? at : at + 0.5) - cream.cdf(r == 2 ? at : at - 0.5)) / inside;
    const auto [from, to] = cream.middle_ends(ends, r);
    for (int64_t end = from; end <= to; ++end) shares[end] += share / static_cast<double>(to - from + 1);
  }
  return shares;
}

TEST(Positions, DrawCreamsMiddleWithItsExactProbabilities) {
  constexpr int64_t kWindow = 48, kFactor = 4, kSamples = 20000;
  for (const char* form : {"code", "renormalised"})
    for (const auto& [mix, ends] : {std::pair("positions.mix=0", int64_t{4}), {"positions.mix=1", kWindow / 3}}) {
      SCOPED_TRACE(testing::Message() << form << ' ' << mix);
      const Config config =
          config_of("cream", kWindow, kFactor * kWindow, {std::string("positions.form=") + form, mix});
      const Positions positions(config);
      std::map<int64_t, double> counts;  // by end of the middle
      for (int64_t sample = 0; sample < kSamples; ++sample)
        counts[ids_of(positions, sample)[static_cast<size_t>(kWindow - ends - 1)]] += 1;
      const Cream cream{.window = kWindow, .factor = kFactor, .form = config.positions.form};
      double chi_square = 0, bins = 0, expected = 0, found = 0;
      for (const auto& [end, share] : middle_end_shares(cream, ends)) {
        expected += kSamples * share;
        found += counts[end];
        if (expected < 20) continue;
        chi_square += (found - expected) * (found - expected) / expected;
        bins += 1;
        expected = found = 0;
      }
      EXPECT_GT(bins, 30);
      EXPECT_LT(chi_square, bins + 4 * std::sqrt(2 * bins)) << bins << " bins";
    }
}

TEST(Positions, MixCreamsModesSampleBySample) {
  const Positions positions(config_of("cream", 48, 384, {"positions.mix=0.3"}));
  int64_t of_relativity = 0;
  for (int64_t sample = 0; sample < 4000; ++sample) of_relativity += ids_of(positions, sample)[48 - 16] == 384 - 16;
  EXPECT_NEAR(static_cast<double>(of_relativity) / 4000, 0.3, 0.03);
}

// Specification 2.10: mean |D| / Lt of the released samplers at N = 256, f = 8, and every distance seen.
TEST(Positions, CoverTheTargetAsTheReleasedSamplersDo) {
  const auto coverage = [](const std::string& kind, const std::vector<std::string>& more) {
    const Positions positions(config_of(kind, 256, 2048, more));
    DistanceCoverage all(2048);
    for (int64_t sample = 0; sample < 4000; ++sample) all.add(runs_of(ids_of(positions, sample)));
    return std::pair(all.mean_share(), all.covered_share());
  };
  const auto [continuity, all_of_continuity] = coverage("cream", {"positions.mix=0", "positions.head=0"});
  const auto [relativity, all_of_relativity] = coverage("cream", {"positions.mix=1"});
  const auto [pose, all_of_pose] = coverage("pose", {});
  EXPECT_NEAR(continuity, 0.326, 0.004);
  EXPECT_NEAR(relativity, 0.284, 0.004);
  EXPECT_NEAR(pose, 0.213, 0.004);
  EXPECT_EQ(all_of_continuity, 1);
  EXPECT_EQ(all_of_relativity, 1);
  EXPECT_GT(all_of_pose, 0.99);  // the rarest distance comes once in 1,800 samples
}

TEST(Positions, RandPosDrawsEveryIdAsOften) {
  constexpr int64_t kWindow = 10, kTarget = 50, kSamples = 10000;
  const Positions positions(config_of("randpos", kWindow, kTarget));
  std::vector<double> counts(kTarget);
  for (int64_t sample = 0; sample < kSamples; ++sample)
    for (const int32_t id : ids_of(positions, sample)) counts[static_cast<size_t>(id)] += 1;
  const double expected = static_cast<double>(kSamples * kWindow) / kTarget;
  double chi_square = 0;
  for (const double count : counts) chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_square, kTarget + 4 * std::sqrt(2.0 * kTarget));
}

// --- What a configuration may not ask for.

void expect_refused(std::initializer_list<const char*> parts, std::vector<std::string> overrides) {
  overrides.insert(overrides.end(), {"data.path=none.h5"});
  test::expect_error(ExitCode::Usage, parts, [&] { load_training_config("", overrides); });
}

TEST(PositionsConfig, NamesWhatDoesNotFit) {
  expect_refused({"positions.target = 128 is shorter than the window of 1,024 tokens (data.length)"},
                 {"--positions.kind=pose", "--positions.target=128"});
  expect_refused({"positions.target = 0 is shorter than the window of 64 tokens (segment.length)"},
                 {"--positions.kind=pose", "--segment.length=64"});
  expect_refused({"positions.target = 1,000 is no multiple of the window of 64 tokens"},
                 {"--positions.kind=cream", "--positions.target=1000", "--segment.length=64"});
  expect_refused({"a window of 64 tokens (data.length) has no room", "head and tail of 32 each"},
                 {"--positions.kind=cream", "--positions.target=512", "--data.length=64"});
  expect_refused(
      {"positions.target = 2,147,483,646 has position ids up to 2,147,483,662", "2,147,483,647 can be"},
      {"--positions.kind=pose", "--positions.target=2147483646", "--segment.length=64", "--memory.kind=rmt"});
  expect_refused({"positions.document = 100 is shorter than the window of 128"},
                 {"--positions.kind=pose", "--positions.target=512", "--data.length=128", "--positions.document=100"});
  expect_refused({"positions.split = '13,x' is no list of token ids"},
                 {"--positions.kind=longrecipe", "--positions.target=2048", "--positions.split=13,x"});
  expect_refused({"positions.sigma has no effect in this run", "positions.kind = cream"},
                 {"--positions.kind=pose", "--positions.target=2048", "--positions.sigma=2"});
  expect_refused(
      {"positions.document has no effect", "one segment a sequence"},
      {"--positions.kind=pose", "--positions.target=2048", "--segment.length=64", "--positions.document=4k"});
}

TEST(PositionsConfig, BindsTrainingAlone) {
  // An evaluation may have longer sequences than the run's window.
  const Config config = parse_config("[positions]\nkind = cream\ntarget = 2048\n", "run", {"data.length=8192"});
  EXPECT_EQ(config.positions.target, 2048);
}

}  // namespace
}  // namespace memring
