// Curriculum: sequences grow stage by stage (Bulatov et al. 2023): on to the next once the loss is low, with a share of
// shorter ones all the time, so that a memory does not learn one distance. Where it stands is part of the training
// state, so a resumed run goes on exactly.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "config/config.h"
#include "dist/gradient_sync.h"
#include "io/checkpoint.h"

namespace memring {

class Curriculum {
 public:
  /// No sequence has fewer segments than `fewest`, which the dataset knows.
  Curriculum(const Config&, int64_t fewest);
  /// Of the next step's sequences: the stage's, or by chance one of fewer segments. A pure function of seed and state.
  SequenceShape shape(const TrainState&) const;
  /// Counts a step of `shape`; true when it was the last of its stage.
  bool advance(TrainState&, const SequenceShape&, const ReducedStep&) const;

  const std::vector<SequenceShape>& stages() const { return stages_; }
  const SequenceShape& stage(const TrainState& state) const { return stages_[static_cast<size_t>(state.stage)]; }

 private:
  std::vector<SequenceShape> stages_;
  CurriculumConfig config_;
  uint64_t seed_;
  int64_t fewest_;  ///< segments of a shorter sequence
};

}  // namespace memring
