// What an evaluation of a task prints: columns, intervals and the heat map, of results made by hand.
// SPDX-License-Identifier: Apache-2.0
#include "eval/task_accuracy.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace memring {
namespace {

TaskRow row(int64_t length, std::optional<double> depth, double digits, double exact) {
  return {.shape = {length, 0},
          .depth = depth,
          .as_trained = {.tokens = {digits, 500}, .exact = {exact, 100}, .nll = 250, .seconds = 1},
          .reset = {}};
}

TaskAccuracy passkey() {
  TaskAccuracy result;
  result.kind = "passkey";
  result.samples = 100;
  result.rows = {row(128, 0, 500, 100), row(128, 0.5, 450, 74), row(1024, 0, 260, 26), row(1024, 0.5, 50, 0)};
  return result;
}

TEST(TaskAccuracy, TheHeatMapHasALineADepthAndAColumnALength) {
  EXPECT_EQ(heat_map(passkey()),
            "\nexact match in percent, by depth of the key and tokens\n\n"
            "  depth           128         1,024\n"
            "      0 ███████ 100.0 ░░░░░░░  26.0\n"
            "    0.5 ▓▓▓▓▓▓▓  74.0           0.0\n");
  TaskAccuracy without = passkey();
  for (TaskRow& r : without.rows) r.depth.reset();
  EXPECT_EQ(heat_map(without), "");
}

// Wilson's interval of 74 in 100: (0.6463, 0.8160), as tables have it.
TEST(TaskAccuracy, DigitsAndWholeKeysHaveAnIntervalEach) {
  TaskAccuracy result = passkey();
  const auto rows = nlohmann::json::parse(to_json(result))["rows"];
  ASSERT_EQ(rows.size(), 4u);
  const auto& second = rows[1];
  EXPECT_EQ(second["depth"], 0.5);
  EXPECT_EQ(second["tokens"], 128);
  EXPECT_EQ(second["accuracy"], 0.9);
  EXPECT_EQ(second["right"], 450);
  EXPECT_EQ(second["answers"], 500);
  EXPECT_EQ(second["exact_match"], 0.74);
  EXPECT_EQ(second["exact"], 74);
  EXPECT_NEAR(second["exact_low"].get<double>(), 0.6463, 1e-4);
  EXPECT_NEAR(second["exact_high"].get<double>(), 0.8160, 1e-4);
  EXPECT_EQ(second["loss"], 0.5);
  // The five digits of a key are no five independent answers: 90 in 100, as tables have it.
  EXPECT_NEAR(second["low"].get<double>(), 0.8256, 1e-4);
  EXPECT_NEAR(second["high"].get<double>(), 0.9448, 1e-4);
  result.rows.resize(2);
  for (const char* part : {"0.5", "0.9000", "0.7400", "0.6463-0.8160"})
    EXPECT_NE(newest_row(result).find(part), std::string::npos) << part << " in " << newest_row(result);
}

// Nothing is told twice: depth and exact match have columns where they say something.
TEST(TaskAccuracy, ColumnsAreThoseThatSaySomething) {
  TaskAccuracy result = passkey();
  EXPECT_NE(head_of(result).find("exact match"), std::string::npos);
  EXPECT_NE(head_of(result).find("depth"), std::string::npos);
  for (TaskRow& r : result.rows)
    r = {.shape = r.shape,
         .depth = {},
         .as_trained = {.tokens = {80, 100}, .exact = {80, 100}, .nll = 1, .seconds = 1},
         .reset = {}};
  EXPECT_EQ(head_of(result).find("exact match"), std::string::npos);
  EXPECT_EQ(head_of(result).find("depth"), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(to_json(result))["rows"][0].contains("depth"));
}

}  // namespace
}  // namespace memring
