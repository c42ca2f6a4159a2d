// Lists of shapes, lengths and depths, as a configuration writes them.
// SPDX-License-Identifier: Apache-2.0
#include "config/shapes.h"

#include <gtest/gtest.h>

#include "files.h"

namespace memring {
namespace {

using test::expect_error;

Config passkey(std::vector<std::string> settings) {
  settings.insert(settings.end(), {"data.kind=passkey", "segment.length=16", "data.length=112"});
  return load_config("", settings);
}

TEST(Shapes, LengthsAreTokensAndDepthsShares) {
  EXPECT_EQ(parse_lengths("128, 4096", 0), (std::vector<SequenceShape>{{128, 0}, {4096, 0}}));
  EXPECT_EQ(parse_lengths("40", 16).front().segments(), 3);
  for (const char* wrong : {"0", "-1", "7x64", "1.5", "2e3", "many", "1099511627777"})
    expect_error(ExitCode::Usage, {wrong, "number of tokens"}, [&] { parse_lengths(wrong, 16); });
  EXPECT_EQ(parse_depths("0 0.25,1"), (std::vector<double>{0, 0.25, 1}));
  for (const char* wrong : {"-0.1", "1.01", "nan", "inf", "half", "0.5x"})
    expect_error(ExitCode::Usage, {wrong, "share"}, [&] { parse_depths(wrong); });
  expect_error(ExitCode::Usage, {"eval.depths", "'2'"}, [] { passkey({"eval.depths=0,2"}); });
  expect_error(ExitCode::Usage, {"eval.lengths", "'x'"}, [] { passkey({"eval.lengths=x"}); });
  const Config both = passkey({"eval.segments=2", "eval.lengths=80"});
  EXPECT_EQ(eval_shapes(both), (std::vector<SequenceShape>{{32, 16}, {80, 16}}));
}

TEST(Shapes, AreWrittenAsSegmentsOrSegmentsTimesTokens) {
  EXPECT_EQ(parse_shapes("1 2, 7x512", 16), (std::vector<SequenceShape>{{16, 16}, {32, 16}, {3584, 512}}));
  EXPECT_TRUE(parse_shapes(" , ", 16).empty());
  for (const char* wrong : {"0", "-1", "x", "7x", "x7", "7x0", "1.5", "7x5x3", "99999999999", "seven"})
    expect_error(ExitCode::Usage, {wrong}, [&] { parse_shapes(wrong, 16); });
  expect_error(ExitCode::Usage, {"segment.length = 0"}, [] { parse_shapes("7", 0); });
}

}  // namespace
}  // namespace memring
