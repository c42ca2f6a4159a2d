// The section [rope]: what is filled in, what its words are, and what cannot work.
// SPDX-License-Identifier: Apache-2.0
#include "config_mistakes.h"

#include "config/number_list.h"

namespace memring {
namespace {

using test::expect_mistake;

Config config_of(const std::vector<std::string>& settings) { return parse_config("", "runs.ini", settings); }

TEST(RopeConfig, TheOriginalLengthIsTheWindowWhereAScalingAsksForIt) {
  const auto length = [](std::vector<std::string> settings) {
    settings.emplace_back("rope.factor=4");
    return config_of(settings).rope.original_length;
  };
  EXPECT_EQ(length({"data.length=96"}), 0);
  EXPECT_EQ(length({"data.length=96", "rope.scaling=ntk"}), 0);
  for (const char* scaling : {"dynamic", "parts", "yarn", "revised_yarn", "llama3"}) {
    const std::string key = std::string("rope.scaling=") + scaling;
    EXPECT_EQ(length({"data.length=96", key}), 96);
    EXPECT_EQ(length({"data.length=96", "segment.length=32", key}), 32);
    EXPECT_EQ(length({"curriculum.stages=1,2", "curriculum.max_steps=200", "segment.length=32", key}), 32);
    EXPECT_EQ(length({"data.length=96", "rope.original_length=4k", key}), 4096);
  }
}

TEST(RopeConfig, WordsNameTheScalingAndWhatCountsForIt) {
  EXPECT_EQ(settings_text(config_of({"rope.factor=4", "rope.beta_fast=8"}), "rope"), "none");
  EXPECT_EQ(settings_text(config_of({"rope.scaling=linear", "rope.factor=2.5"}), "rope"), "linear, factor 2.5");
  EXPECT_EQ(settings_text(config_of({"rope.scaling=yarn", "rope.factor=8", "data.length=128", "rope.beta_fast=24",
                                     "rope.truncate=false", "rope.low_freq_factor=2"}),
                          "rope"),
            "yarn, factor 8, original_length 128, beta_fast 24, truncate false");
}

TEST(RopeConfig, SettingsReadBack) {
  const Config config = config_of({"model.head_dim=4", "rope.scaling=longrope", "rope.factor=2",
                                   "rope.short_factor=[1.0, 1.5]", "rope.long_factor=2 3"});
  EXPECT_EQ(render_config(parse_config(render_config(config), "again")), render_config(config));
}

TEST(RopeConfig, ScalingsThatCannotWorkNameTheirKeysAndPlace) {
  expect_mistake("[rope]\nscaling = yarm\n", {"runs.ini:2: rope.scaling = 'yarm' is none of its values",
                                              "none, linear, ntk, dynamic, parts, yarn", "Did you mean 'yarn'?"});
  expect_mistake("[rope]\nscaling = yarn\n", {"runs.ini:2: rope.scaling = yarn needs rope.factor"});
  expect_mistake("[rope]\nscaling = linear\nfactor = 0.5\n",
                 {"runs.ini:3: rope.factor = 0.5 would make the window shorter; 1 or more was expected"});
  expect_mistake("[rope]\nscaling = ntk\nfactor = 2\n[model]\nhead_dim = 2\n",
                 {"runs.ini:2: rope.scaling = ntk with model.head_dim = 2", "linear"});
  expect_mistake("[rope]\nscaling = dynamic\nfactor = 2\noriginal_length = 1\n",
                 {"runs.ini:4: rope.original_length = 1; a window has 2 positions or more"});
  expect_mistake("[rope]\nscaling = parts\nfactor = 2\nbeta_slow = 40\n",
                 {"runs.ini:4: rope.beta_slow = 40 is more than rope.beta_fast = 32"});
  expect_mistake("[rope]\nscaling = yarn\nfactor = 2\n[model]\nrope_theta = 1\n",
                 {"model.rope_theta = 1", "more than 1"});
  expect_mistake("[rope]\nscaling = llama3\nfactor = 2\nlow_freq_factor = 4\n",
                 {"runs.ini:4: rope.low_freq_factor = 4 is not less than rope.high_freq_factor = 4"});
  const std::string longrope = "[model]\nhead_dim = 4\n[rope]\nscaling = longrope\nfactor = 2\n";
  expect_mistake(longrope, {"runs.ini:4: rope.short_factor has 0 numbers, but model.head_dim / 2 = 2"});
  expect_mistake(longrope + "short_factor = 1,2\nlong_factor = 1,2,3\n",
                 {"runs.ini:7: rope.long_factor has 3 numbers, but model.head_dim / 2 = 2"});
  for (const char* list : {"1,two", "1,0", "1,-2", "1,inf", "1,nan", "1;2"})
    expect_mistake(longrope + "short_factor = " + list + "\n",
                   {"runs.ini:6: rope.short_factor = '", "is no list of numbers above 0"});
}

TEST(RopeConfig, ListsAreWrittenInManyWays) {
  for (const char* text : {"1,2.5", "1 2.5", "[1.0, 2.5]", " 1\t2.50 ,"})
    EXPECT_EQ(parse_numbers<double>(text), (std::vector<double>{1, 2.5})) << text;
  EXPECT_EQ(parse_numbers<double>(""), std::vector<double>());
  EXPECT_FALSE(parse_numbers<int32_t>("1.5"));
}

}  // namespace
}  // namespace memring
