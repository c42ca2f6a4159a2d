// The state of a training run as checkpoints hold it: by these names, in this order, and back without a loss.
// SPDX-License-Identifier: Apache-2.0
#include "train/train_state.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace memring {
namespace {

const TrainState kSome{.step = 7,
                       .tokens = 28672,
                       .skipped = 3,
                       .skipped_in_row = 1,
                       .seconds = 0.1,
                       .stage = 2,
                       .stage_steps = 5,
                       .stage_loss = 1.7,
                       .loss = 2.3,
                       .mean_loss = 2.5,
                       .best_loss = 2.4,
                       .sound = false};

const NamedNumbers kSaved{{"step", 7},      {"tokens", 28672},  {"skipped", 3},     {"skipped_in_row", 1},
                          {"seconds", 0.1}, {"stage", 2},       {"stage_steps", 5}, {"stage_loss", 1.7},
                          {"loss", 2.3},    {"mean_loss", 2.5}, {"best_loss", 2.4}, {"sound", false}};

TEST(TrainState, IsSavedUnderTheNamesThatCheckpointsHaveAlwaysHad) { EXPECT_EQ(numbers_of(kSome), kSaved); }

TEST(TrainState, ComesBackAsItWas) { EXPECT_EQ(train_state(kSaved), kSome); }

TEST(TrainState, OfTheFirstCheckpointsBeginsTheRestAtItsDefaults) {
  const TrainState state =
      train_state({{"step", 7}, {"tokens", 28672}, {"skipped", 3}, {"skipped_in_row", 1}, {"seconds", 0.1}});
  EXPECT_EQ(state, (TrainState{.step = 7, .tokens = 28672, .skipped = 3, .skipped_in_row = 1, .seconds = 0.1}));
}

TEST(TrainState, IsRefusedWhereACounterIsMissingOrOfAnotherKind) {
  const auto refused = [](const NamedNumbers& numbers) {
    try {
      (void)train_state(numbers);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  NamedNumbers other = kSaved;
  other.set("tokens", 0.5);
  EXPECT_NE(refused({{"step", 7}}).find("\"tokens\""), std::string::npos);
  EXPECT_NE(refused(other).find("\"tokens\""), std::string::npos);
}

}  // namespace
}  // namespace memring
