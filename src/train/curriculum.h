// Curriculum: sequences grow stage by stage (Bulatov et al. 2023): on to the next once the loss is low, with a share of
// shorter ones all the time, so that a memory does not learn one distance. Where it stands is part of the training
// state, so a resumed run goes on exactly: the state's stage counts the stages that are behind it, and is their number
// once the last one, which goes on, was learned too.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "dist/gradient_sync.h"
#include "train/train_state.h"

namespace memring {

class Curriculum {
 public:
  /// `stages`: at least one (stages_of). No sequence has fewer segments than `fewest`, which the dataset knows.
  Curriculum(std::vector<SequenceShape> stages, const CurriculumConfig&, uint64_t seed, int64_t fewest);
  /// Of the next step's sequences: the stage's, or by chance one of fewer segments. A pure function of seed and state.
  SequenceShape shape(const TrainState&) const;
  /// Counts a step of `shape`. When it was the last of its stage, or the one that learned the last stage: the stage's
  /// running average of the loss, this step included.
  std::optional<double> advance(TrainState&, const SequenceShape&, const ReducedStep&) const;

  const std::vector<SequenceShape>& stages() const { return stages_; }
  int64_t last() const { return std::ssize(stages_) - 1; }
  /// Which of the stages its sequences are of, counted from 0.
  int64_t number(const TrainState& state) const { return std::min(state.stage, last()); }
  const SequenceShape& stage(const TrainState& state) const { return stages_[static_cast<size_t>(number(state))]; }

  /// The last stage was learned: its loss was as low as curriculum.promote_loss asks.
  bool learned(const TrainState& state) const { return state.stage > last(); }
  /// What was not reached, in words; empty where all was. Without promote_loss the last stage only has to begin.
  std::string unfinished(const TrainState&) const;
  /// The steps that curriculum.after grants are done.
  bool over(const TrainState&) const;
  /// The share of those steps that is left; 1 until they begin.
  double left(const TrainState&) const;
  /// What the stage makes of the learning rate (curriculum.lr_power): a factor.
  double rate(const TrainState&) const;

 private:
  std::vector<SequenceShape> stages_;
  CurriculumConfig config_;
  uint64_t seed_;
  int64_t fewest_;  ///< segments of a shorter sequence
};

}  // namespace memring
