// Rotary frequencies: what the methods promise, and every way to write settings in a config.json. Values of the
// original programs are in golden.peers.
// SPDX-License-Identifier: Apache-2.0
#include "model/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "files.h"
#include "model/rope_scaling_json.h"

namespace memring {
namespace {

using test::expect_error;

constexpr int64_t kHeadDim = 128, kHalf = kHeadDim / 2, kWindow = 4096;
constexpr RopeScaling kAll[] = {RopeScaling::Linear, RopeScaling::Ntk,     RopeScaling::Dynamic,
                                RopeScaling::Parts,  RopeScaling::Yarn,    RopeScaling::RevisedYarn,
                                RopeScaling::Llama3, RopeScaling::LongRope};

RotarySettings settings(RopeScaling scaling, double factor) {
  const std::vector<double> ones(kHalf, 1);
  RotarySettings r;
  r.scaling = scaling;
  r.factor = factor;
  r.original_length = kWindow;
  r.short_factor = r.long_factor = ones;
  return r;
}

std::vector<double> inverse(const RotarySettings& r, int64_t length = kWindow) {
  return rotary_scale(r, kHeadDim, length).inverse;
}

const std::vector<double> kPlain = inverse({});

TEST(Rotary, PlainFrequenciesArePowersOfTheta) {
  ASSERT_EQ(kPlain.size(), kHalf);
  for (int64_t i = 0; i < kHalf; ++i)
    EXPECT_EQ(kPlain[i], std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(kHalf)));
  EXPECT_EQ(rotary_scale({}, kHeadDim, 1).factor, 1);
}

TEST(Rotary, AFactorOfOneChangesNothing) {
  for (const RopeScaling scaling : kAll)
    for (const int64_t length : {kWindow, 8 * kWindow}) {
      if (scaling == RopeScaling::Dynamic && length > kWindow) continue;  // its factor grows with the length
      const RotaryScale found = rotary_scale(settings(scaling, 1), kHeadDim, length);
      for (int64_t i = 0; i < kHalf; ++i)
        EXPECT_EQ(found.inverse[i], kPlain[i]) << static_cast<int>(scaling) << ' ' << i;
      EXPECT_EQ(found.factor, 1) << static_cast<int>(scaling);
    }
}

// Exactly, since the factor is a power of two.
TEST(Rotary, LinearAtSTimesAPositionIsPlainAtThePosition) {
  const auto found = inverse(settings(RopeScaling::Linear, 8));
  for (int64_t i = 0; i < kHalf; ++i)
    for (const double position : {1.0, 17.0, 4095.0}) EXPECT_EQ(8 * position * found[i], position * kPlain[i]);
}

TEST(Rotary, NtkKeepsTheHighestFrequencyAndDividesTheLowestByTheFactor) {
  for (const double factor : {2.0, 8.0, 32.0}) {
    const auto found = inverse(settings(RopeScaling::Ntk, factor));
    EXPECT_EQ(found.front(), 1);
    EXPECT_NEAR(found.back() * factor / kPlain.back(), 1, 1e-13);
    for (int64_t i = 1; i < kHalf; ++i) EXPECT_LT(found[i], kPlain[i]);
  }
}

TEST(Rotary, DynamicIsPlainWithinTheWindowAndNtkOfWhatIsBeyond) {
  const RotarySettings dynamic = settings(RopeScaling::Dynamic, 4);
  EXPECT_EQ(inverse(dynamic, 1), kPlain);
  EXPECT_EQ(inverse(dynamic, kWindow), kPlain);
  EXPECT_EQ(inverse(dynamic, 2 * kWindow), inverse(settings(RopeScaling::Ntk, 4 * 2 - 3)));
}

// The limits of theta = 1e4, a head of 128 and a window of 4096: dimensions 20 and 46 (Peng et al. 2023).
TEST(Rotary, YarnKeepsHighFrequenciesAndInterpolatesLowOnes) {
  const auto linear = inverse(settings(RopeScaling::Linear, 8));
  for (const RopeScaling scaling : {RopeScaling::Parts, RopeScaling::Yarn, RopeScaling::RevisedYarn}) {
    const auto found = inverse(settings(scaling, 8));
    for (int64_t i = 0; i <= 20; ++i) EXPECT_EQ(found[i], kPlain[i]) << i;
    for (int64_t i = 21; i < 46; ++i) EXPECT_TRUE(linear[i] < found[i] && found[i] < kPlain[i]) << i;
    for (int64_t i = 46; i < kHalf; ++i) EXPECT_EQ(found[i], linear[i]) << i;
  }
}

TEST(Rotary, AttentionFactors) {
  const auto factor = [](RotarySettings r) { return rotary_scale(r, kHeadDim, kWindow).factor; };
  for (const RopeScaling scaling : {RopeScaling::Yarn, RopeScaling::RevisedYarn}) {
    RotarySettings r = settings(scaling, 8);
    EXPECT_NEAR(factor(r), 1.2079441541679836, 1e-15);
    r.mscale = 1;
    EXPECT_NEAR(factor(r), 1.2079441541679836, 1e-15);  // both, or none
    r.mscale_all_dim = 0.5;
    EXPECT_NEAR(factor(r), (0.1 * std::log(8) + 1) / (0.05 * std::log(8) + 1), 1e-15);
    r.attention_factor = 1.5;
    EXPECT_EQ(factor(r), 1.5);
  }
  RotarySettings r = settings(RopeScaling::LongRope, 8);
  EXPECT_NEAR(factor(r), std::sqrt(1 + std::log(8) / std::log(4096)), 1e-15);
  r.attention_factor = 1;
  EXPECT_EQ(factor(r), 1);
  r = settings(RopeScaling::Parts, 8);
  r.attention_factor = 2;
  EXPECT_EQ(factor(r), 1);  // it has no temperature
}

TEST(Rotary, LongRopeTakesTheShortFactorsUpToTheWindow) {
  RotarySettings r = settings(RopeScaling::LongRope, 8);
  for (int64_t i = 0; i < kHalf; ++i) r.short_factor[i] = 2, r.long_factor[i] = 4;
  for (int64_t i = 0; i < kHalf; ++i) {
    EXPECT_EQ(inverse(r, kWindow)[i], kPlain[i] / 2);
    EXPECT_EQ(inverse(r, kWindow + 1)[i], kPlain[i] / 4);
  }
}

RotarySettings parsed(const std::string& json) { return parse_rope_scaling(json, {5000, 4, 1024}, "a.h5: entry"); }

TEST(RopeScalingJson, NoScalingIsWrittenInManyWays) {
  for (const char* json : {"null", "{}", R"({"rope_type": "default"})", R"({"type": "default", "factor": 4})"}) {
    EXPECT_EQ(parsed(json).scaling, RopeScaling::None) << json;
    EXPECT_EQ(parsed(json).theta, 5000);
  }
  EXPECT_EQ(parsed(R"({"rope_theta": 1e6})").theta, 1e6);
}

TEST(RopeScalingJson, AKeyThatIsAbsentOrNullHasItsUsualMeaning) {
  RotarySettings r = parsed(R"({"rope_type": "linear", "type": "yarn", "factor": 3, "rope_theta": null})");
  EXPECT_EQ(r.scaling, RopeScaling::Linear);
  EXPECT_EQ(r.factor, 3);
  EXPECT_EQ(r.theta, 5000);

  r = parsed(R"({"type": "yarn", "factor": null, "original_max_position_embeddings": 256, "attention_factor": null,
                 "beta_fast": null, "beta_slow": 0})");
  EXPECT_EQ(r.factor, 4);  // 1024 / 256
  EXPECT_EQ(r.original_length, 256);
  EXPECT_FALSE(r.attention_factor);
  EXPECT_TRUE(r.beta_fast == 32 && r.beta_slow == 1 && r.truncate);
  EXPECT_FALSE(parsed(R"({"type": "yarn", "factor": 2, "truncate": null})").truncate);

  r = parsed(R"({"rope_type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4.5], "attention_factor": 1.25})");
  EXPECT_EQ(r.original_length, 1024);
  EXPECT_EQ(r.factor, 1);
  EXPECT_EQ(r.long_factor, (std::vector<double>{3, 4.5}));
  EXPECT_EQ(r.attention_factor, 1.25);

  // transformers goes by max_position_embeddings there.
  r = parsed(R"({"rope_type": "dynamic", "factor": 2, "original_max_position_embeddings": 256})");
  EXPECT_EQ(r.original_length, 1024);
}

TEST(RopeScalingJson, WhatIsWrongIsNamed) {
  const auto expect_bad = [](const std::string& json, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(json);
    expect_error(ExitCode::Data, {"a.h5: entry: rope_scaling"}, [&] { parsed(json); });
    expect_error(ExitCode::Data, parts, [&] { parsed(json); });
  };
  expect_bad("[]", {"not a JSON object"});
  expect_bad("{", {"not a JSON object"});
  expect_bad(R"({"rope_type": "su"})", {R"(rope_type = "su" is unknown; default, linear, dynamic, yarn)"});
  expect_bad(R"({"type": 7})", {"type = 7; a text"});
  expect_bad(R"({"type": "linear"})", {"factor is missing"});
  expect_bad(R"({"type": "llama3", "factor": 8, "low_freq_factor": 1})", {"high_freq_factor is missing"});
  expect_bad(R"({"type": "yarn", "factor": "8"})", {R"(factor = "8"; a number)"});
  expect_bad(R"({"type": "yarn", "factor": -8})", {"factor = -8; a number above 0"});
  expect_bad(R"({"type": "yarn", "factor": 8, "truncate": 1})", {"truncate = 1; true or false"});
  expect_bad(R"({"type": "yarn", "factor": 8, "original_max_position_embeddings": 0.5})",
             {"original_max_position_embeddings = 0.5; a number of positions"});
  expect_bad(R"({"type": "longrope", "long_factor": [1, 2]})", {"short_factor is missing"});
  expect_bad(R"({"type": "longrope", "short_factor": [1, 2, 3], "long_factor": [1, 2]})",
             {"short_factor has 3 numbers above 0; head_dim / 2 = 2 were expected"});
  expect_bad(R"({"type": "longrope", "short_factor": [1, 2], "long_factor": [1, "2"]})", {"long_factor"});
  expect_bad(R"({"type": "longrope", "short_factor": 2, "long_factor": [1, 2]})", {"short_factor"});
  expect_bad(R"({"type": "linear", "factor": 2, "partial_rotary_factor": 0.5})",
             {"partial_rotary_factor", "whole heads"});
}

}  // namespace
}  // namespace memring
