// The curriculum: stages follow each other by loss or by count, shorter sequences come in the share asked for, and all
// of it follows from the saved state.
// SPDX-License-Identifier: Apache-2.0
#include "train/curriculum.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "config/shapes.h"
#include "files.h"
#include "train/optimizer.h"

namespace memring {
namespace {

using test::expect_error;

Config curriculum_config(const std::vector<std::string>& more) {
  std::vector<std::string> settings = {"segment.length=16", "data.kind=detect", "curriculum.stages=1 2 3x32 7"};
  settings.insert(settings.end(), more.begin(), more.end());
  return load_config("", settings);
}

Curriculum curriculum_of(const Config& config, int64_t fewest) {
  return {stages_of(config), config.curriculum, config.run.seed, fewest};
}

ReducedStep step_of(double loss) {
  ReducedStep step;
  step.sums.nll = loss;
  step.sums.targets = 1;
  step.finite = true;
  return step;
}

/// Steps of constant loss until the next stage; -1 when it does not come.
int64_t steps_in_stage(const Curriculum& curriculum, TrainState& state, double loss) {
  for (int64_t steps = 1; steps < 5000; ++steps) {
    const SequenceShape shape = curriculum.shape(state);
    ++state.step;
    if (curriculum.advance(state, shape, step_of(loss))) return steps;
  }
  return -1;
}

TEST(Curriculum, WithoutStagesThereIsOne) {
  const Config config = load_config("", {"segment.length=16", "data.length=100"});
  const Curriculum curriculum = curriculum_of(config, 1);
  TrainState state;
  EXPECT_EQ(curriculum.shape(state), (SequenceShape{100, 16}));
  EXPECT_EQ(steps_in_stage(curriculum, state, 0), -1);
  EXPECT_EQ(state.stage, 0);
}

TEST(Curriculum, ALowLossPromotesAfterTheLeastStepsAndAHighOneAfterTheMost) {
  const Curriculum curriculum = curriculum_of(
      curriculum_config({"curriculum.promote_loss=0.1", "curriculum.min_steps=20", "curriculum.max_steps=300"}), 1);
  TrainState state;
  EXPECT_EQ(curriculum.stage(state), (SequenceShape{16, 16}));
  EXPECT_EQ(steps_in_stage(curriculum, state, 0.05), 20);
  EXPECT_EQ(curriculum.stage(state), (SequenceShape{32, 16}));
  EXPECT_EQ(steps_in_stage(curriculum, state, 0.5), 300);
  EXPECT_EQ(curriculum.stage(state), (SequenceShape{96, 32}));
  EXPECT_EQ(steps_in_stage(curriculum, state, 0.05), 20);
  EXPECT_EQ(steps_in_stage(curriculum, state, 0.5), -1) << "the last stage lasts";
  EXPECT_GT(steps_in_stage(curriculum, state, 0.01), 0) << "and is learned as the others are";
  EXPECT_EQ(steps_in_stage(curriculum, state, 0.01), -1);
  EXPECT_EQ(curriculum.shape(state), (SequenceShape{112, 16})) << "it goes on";
}

TEST(Curriculum, SaysWhatWasNotReached) {
  const Curriculum curriculum =
      curriculum_of(curriculum_config({"curriculum.promote_loss=0.1", "curriculum.min_steps=20"}), 1);
  TrainState state;
  for (int i = 0; i < 30; ++i) curriculum.advance(state, curriculum.stage(state), step_of(0.6931));
  EXPECT_EQ(
      curriculum.unfinished(state),
      "the curriculum is not finished: stage 1 of 4 (1 segment of 16 tokens) is not learned after 30 steps, with a "
      "loss of 0.6931 where curriculum.promote_loss is 0.1");
  for (int stage = 0; stage < 3; ++stage) steps_in_stage(curriculum, state, 0.05);
  EXPECT_NE(curriculum.unfinished(state).find("stage 4 of 4 (7 segments of 16 tokens)"), std::string::npos);
  EXPECT_FALSE(curriculum.learned(state));
  steps_in_stage(curriculum, state, 0.05);
  EXPECT_TRUE(curriculum.learned(state));
  EXPECT_EQ(curriculum.unfinished(state), "");

  const Curriculum by_count = curriculum_of(curriculum_config({"curriculum.max_steps=100"}), 1);
  TrainState counted;
  EXPECT_NE(by_count.unfinished(counted), "");
  for (int stage = 0; stage < 3; ++stage) steps_in_stage(by_count, counted, 5);
  EXPECT_EQ(by_count.unfinished(counted), "") << "without promote_loss nothing says when the last stage is learned";
}

TEST(Curriculum, EndsTheRunSomeStepsAfterTheLastStageWasLearned) {
  const Curriculum curriculum = curriculum_of(
      curriculum_config({"curriculum.promote_loss=0.1", "curriculum.min_steps=20", "curriculum.after=10"}), 1);
  const OptimizerConfig optimizer = load_config("", {"optimizer.lr=1", "optimizer.min_lr=0.2"}).optimizer;
  TrainState state;
  for (int stage = 0; stage < 4; ++stage) {
    EXPECT_FALSE(curriculum.over(state));
    EXPECT_EQ(falling_with(curriculum.left(state), optimizer, 1), 1);
    steps_in_stage(curriculum, state, 0.05);
  }
  for (int step = 0; step < 10; ++step) {
    EXPECT_FALSE(curriculum.over(state));
    EXPECT_DOUBLE_EQ(falling_with(curriculum.left(state), optimizer, 1), 1 - 0.08 * step);
    EXPECT_EQ(falling_with(curriculum.left(state), optimizer, 0.1), 0.1) << "never above the schedule";
    curriculum.advance(state, curriculum.shape(state), step_of(5));
  }
  EXPECT_TRUE(curriculum.over(state));
  const Curriculum open = curriculum_of(curriculum_config({"curriculum.promote_loss=0.1"}), 1);
  EXPECT_FALSE(open.over(state));
  EXPECT_EQ(open.left(state), 1);
}

TEST(Curriculum, TheNextRateIsWhatTheScheduleAndTheStepsBehindTheLastStageLeave) {
  const Config config = curriculum_config({"curriculum.promote_loss=0.1", "curriculum.after=10", "optimizer.lr=1",
                                           "optimizer.warmup=0", "optimizer.schedule=linear", "run.steps=100"});
  const Curriculum curriculum = curriculum_of(config, 1);
  TrainState state{.step = 20};
  EXPECT_DOUBLE_EQ(next_rate(config.optimizer, config.run, curriculum, state), 0.8);
  state.stage = 4;
  EXPECT_DOUBLE_EQ(next_rate(config.optimizer, config.run, curriculum, state), 0.8)
      << "the schedule has fallen further";
  state.stage_steps = 5;
  EXPECT_DOUBLE_EQ(next_rate(config.optimizer, config.run, curriculum, state), 0.5);
}

TEST(Curriculum, TellsTheAverageThatEndedAStageAndNotTheOneBefore) {
  const Curriculum curriculum =
      curriculum_of(curriculum_config({"curriculum.promote_loss=0.1", "curriculum.min_steps=1"}), 1);
  TrainState state;
  const SequenceShape shape = curriculum.stage(state);
  EXPECT_EQ(curriculum.advance(state, shape, step_of(0.2)), std::nullopt);
  EXPECT_EQ(curriculum.advance(state, shape, step_of(0.05)), std::nullopt);  // 0.17
  EXPECT_EQ(curriculum.advance(state, shape, step_of(0)), std::nullopt);     // 0.136
  EXPECT_EQ(curriculum.advance(state, shape, step_of(0)), std::nullopt);     // 0.1088
  const std::optional<double> ended = curriculum.advance(state, shape, step_of(0));
  ASSERT_TRUE(ended.has_value());
  EXPECT_DOUBLE_EQ(*ended, 0.8 * 0.8 * 0.8 * 0.17);
  EXPECT_EQ(state.stage, 1);
}

TEST(Curriculum, TheAverageOfFullLengthDecidesNotOneGoodBatch) {
  const Curriculum curriculum =
      curriculum_of(curriculum_config({"curriculum.promote_loss=0.1", "curriculum.min_steps=2"}), 1);
  TrainState state;
  const auto advance = [&](double loss, const SequenceShape& shape) {
    return curriculum.advance(state, shape, step_of(loss)).has_value();
  };
  for (int i = 0; i < 10; ++i) ASSERT_FALSE(advance(2, {16, 16}));
  EXPECT_FALSE(advance(0.001, {16, 16}));
  const double average = state.stage_loss;
  EXPECT_FALSE(advance(0, {8, 16})) << "a shorter sequence says nothing about the stage";
  EXPECT_EQ(state.stage_loss, average);
  ReducedStep lost = step_of(0);
  lost.finite = false;
  EXPECT_FALSE(curriculum.advance(state, {16, 16}, lost));
  EXPECT_EQ(state.stage_loss, average);
}

TEST(Curriculum, ShorterSequencesComeInTheirShareAndInEveryLength) {
  const Curriculum curriculum =
      curriculum_of(curriculum_config({"curriculum.promote_loss=0.1", "curriculum.shorter=0.5"}), 1);
  TrainState state;
  state.stage = 3;
  std::map<int64_t, int> lengths;
  for (state.step = 0; state.step < 1200; ++state.step) ++lengths[curriculum.shape(state).segments()];
  EXPECT_NEAR(lengths[7], 600, 80);
  for (int64_t n = 1; n < 7; ++n) EXPECT_NEAR(lengths[n], 100, 45) << n << " segments";
  EXPECT_EQ(lengths.size(), 7u);
}

TEST(Curriculum, NoShorterSequenceHasLessThanTheTaskNeeds) {
  const Curriculum curriculum =
      curriculum_of(load_config("", {"segment.length=16", "data.kind=associative", "curriculum.stages=2 4",
                                     "curriculum.max_steps=100", "curriculum.shorter=1"}),
                    2);
  TrainState state;
  for (state.stage = 0; state.stage < 2; ++state.stage)
    for (state.step = 0; state.step < 100; ++state.step) {
      const int64_t segments = curriculum.shape(state).segments();
      ASSERT_GE(segments, 2);
      ASSERT_LT(segments, state.stage == 0 ? 3 : 4);
    }
}

TEST(Curriculum, ListsThatLeadNowhereAreRefused) {
  expect_error(ExitCode::Usage, {"nothing leads to the second"}, [] { curriculum_config({}); });
  expect_error(ExitCode::Usage, {"curriculum.stages", "'seven'"},
               [] { curriculum_config({"curriculum.stages=1 seven"}); });
  expect_error(ExitCode::Usage, {"last of curriculum.stages", "512", "16"}, [] {
    curriculum_config({"curriculum.stages=7 7x512", "curriculum.max_steps=9", "curriculum.min_steps=9"});
  });
  expect_error(ExitCode::Usage, {"sequences of 128 tokens", "the last, of 112"}, [] {
    curriculum_config({"curriculum.stages=8 7", "curriculum.max_steps=500"});
  });
  expect_error(ExitCode::Usage, {"max_steps = 5", "min_steps = 100"}, [] {
    curriculum_config({"curriculum.max_steps=5", "curriculum.promote_loss=0.1"});
  });
  EXPECT_NO_THROW(curriculum_config({"curriculum.max_steps=5"}))
      << "without a loss to leave at, min_steps has no effect";
  expect_error(ExitCode::Usage, {"eval.segments", "'7y'"}, [] {
    curriculum_config({"curriculum.max_steps=500", "eval.segments=7y"});
  });
}

TEST(Curriculum, SetsTheLengthOfASequence) {
  EXPECT_EQ(curriculum_config({"curriculum.max_steps=500"}).data.length, 7 * 16);
}

TEST(Curriculum, TheRateFallsWithTheSegmentsOfAStage) {
  const Config config = curriculum_config(
      {"curriculum.lr_power=0.5", "curriculum.max_steps=9", "optimizer.lr=1", "optimizer.schedule=constant"});
  const Curriculum curriculum = curriculum_of(config, 1);
  TrainState state;
  for (const double expected : {1.0, 1 / std::sqrt(2.0), 1 / std::sqrt(3.0), 1 / std::sqrt(7.0)}) {
    EXPECT_DOUBLE_EQ(next_rate(config.optimizer, config.run, curriculum, state), expected) << "stage " << state.stage;
    ++state.stage;
  }
  EXPECT_DOUBLE_EQ(next_rate(config.optimizer, config.run, curriculum, state), 1 / std::sqrt(7.0))
      << "the last stage was learned, and goes on";
}

}  // namespace
}  // namespace memring
