// Which weights count as sound, what a run directory remembers of a run, and what becomes of an older log.
// SPDX-License-Identifier: Apache-2.0
#include "train/soundness.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "files.h"
#include "runlog/runlog.h"
#include "train/run_directory.h"

namespace memring {
namespace {

using test::content_of;
using test::expect_error;
using test::put_content;
using test::TemporaryFolder;

const double kChance = std::log(256.0);  // 5.5 nats

ReducedStep step_of(double loss, bool finite = true) {
  ReducedStep reduced;
  reduced.sums.targets = 10;
  reduced.sums.nll = reduced.sums.text_nll = 10 * loss;
  reduced.norm = 1;
  reduced.finite = finite;
  return reduced;
}

bool sound_after(const std::vector<double>& losses, TrainState state = {}) {
  for (const double loss : losses) judge(state, step_of(loss), kChance);
  return state.sound;
}

TEST(Soundness, FiniteWeightsThatHaveUnlearnedAreNotSound) {
  EXPECT_TRUE(sound_after({5.6, 3, 2}));
  EXPECT_TRUE(sound_after({5.6, 3, 2, 5.5})) << "no worse than guessing";
  EXPECT_FALSE(sound_after({5.6, 3, 2, 6.6}));
  EXPECT_FALSE(sound_after({5.6, 3, 2, 6.6, 1e4})) << "what is lost does not become the measure";
  EXPECT_TRUE(sound_after({5.6, 3, 2, 1e4, 2})) << "one wild batch";
}

TEST(Soundness, AGradientOfZeroIsSoundWhereNothingIsLeftToLearnAndDeadElsewhere) {
  TrainState state;
  judge(state, step_of(3), kChance);
  ReducedStep nothing = step_of(kChance);
  nothing.norm = 0;
  judge(state, nothing, kChance);
  EXPECT_FALSE(state.sound);
  nothing.sums.text_nll = 0;
  judge(state, nothing, kChance);
  EXPECT_TRUE(state.sound);
  // Nothing that is trained is reached (one segment of a memory on a frozen base): the loss is the batch's noise.
  TrainState untouched;
  for (const double loss : {2.5, 2.7, 2.4, 2.9}) {
    nothing.sums.text_nll = 10 * loss;
    judge(untouched, nothing, kChance);
    EXPECT_TRUE(untouched.sound) << loss;
  }
}

TEST(Soundness, ATaskWhoseLossIsAboveGuessingIsMeasuredByItsOwnBest) {
  EXPECT_TRUE(sound_after({30, 29, 30.5}));
  EXPECT_FALSE(sound_after({30, 29, 31.5}));
}

// What a base teaches may be far from a model that guesses, or near one that has unlearned the text.
TEST(Soundness, OfAMixtureWithADivergenceTheTextCounts) {
  TrainState state;
  ReducedStep step = step_of(3);
  step.sums.nll = 10 * 12.0;
  judge(state, step, kChance);
  EXPECT_TRUE(state.sound);
  step = step_of(6.6);
  step.sums.nll = 10 * 1.0;
  judge(state, step, kChance);
  EXPECT_FALSE(state.sound);
}

TEST(Soundness, AGradientThatIsNoNumberIsNotSoundAndLeavesNoTrace) {
  TrainState state;
  judge(state, step_of(2), kChance);
  judge(state, step_of(std::nan(""), false), kChance);
  EXPECT_FALSE(state.sound);
  EXPECT_EQ(state.loss, 2);
  EXPECT_EQ(state.mean_loss, 2);
  judge(state, step_of(2), kChance);
  EXPECT_TRUE(state.sound);
}

TEST(Soundness, TheBestOutlivesAStageAndARestart) {
  EXPECT_FALSE(sound_after({6.6}, TrainState{.best_loss = 0.1}));
  EXPECT_TRUE(sound_after({5.5}, TrainState{.best_loss = 0.1})) << "a harder stage begins at guessing";
}

TEST(RunDirectory, RemembersThatACheckpointWasCommitted) {
  const TemporaryFolder folder;
  EXPECT_NO_THROW(require_no_progress(folder.path()));
  EXPECT_EQ(step_reached(folder.path()), -1);
  write_progress(folder.path(), TrainState{.step = 120, .tokens = 30720});
  EXPECT_EQ(step_reached(folder.path()), 120);
  expect_error(ExitCode::Data, {"step 120", "30720 tokens", "checkpoints"},
               [&] { require_no_progress(folder.path()); });
  put_content(progress_file(folder.path()), "nonsense");
  EXPECT_EQ(step_reached(folder.path()), -1);
  expect_error(ExitCode::Data, {"step ?"}, [&] { require_no_progress(folder.path()); });
}

std::vector<int64_t> steps_in(const std::string& path) {
  std::ifstream file(path);
  std::vector<int64_t> steps;
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.at("kind") == "step") steps.push_back(record.at("step"));
  }
  return steps;
}

TEST(RunLog, WhatAnEarlierAttemptLoggedIsNeverTruncated) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  const auto log_steps = [&](int64_t first, int64_t last) {
    RunLog log({.speaks = true, .jsonl = path, .every = 1000});
    log.open(first);
    for (int64_t step = first + 1; step <= last; ++step) log.step({.step = step, .steps = 9});
    return log.set_aside();
  };
  EXPECT_EQ(log_steps(0, 4), "") << "there was no log";
  EXPECT_EQ(log_steps(4, 5), "") << "all of it belongs to the run";
  EXPECT_EQ(log_steps(3, 6), folder / "metrics.1.jsonl");
  EXPECT_EQ(steps_in(folder / "metrics.1.jsonl"), (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  const std::string before = content_of(path);
  EXPECT_EQ(log_steps(0, 1), folder / "metrics.2.jsonl") << "begun anew";
  EXPECT_EQ(content_of(folder / "metrics.2.jsonl"), before);
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1}));
  EXPECT_EQ(folder.entries(), 3U) << "nothing unfinished is left behind";
}

}  // namespace
}  // namespace memring
