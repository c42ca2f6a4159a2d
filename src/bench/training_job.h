// A training job without data, log or end: what a benchmark steps through. Random tokens cost what real ones do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "engine/engine.h"
#include "io/checkpoint.h"
#include "train/optimizer.h"

namespace memring {

class TrainingJob {
 public:
  /// Without `backward` it is an evaluation: forward only, nothing is learned.
  TrainingJob(const Config&, Session&, bool backward = true);
  /// Forward, backward, reduction and update, as in train(). Collective.
  void step();

  Engine& engine() { return *engine_; }
  /// This rank's part of what a checkpoint holds, and the words that go with it.
  CheckpointData state();
  CheckpointInfo info(Session&) const;

 private:
  const Config config_;
  bool backward_;
  Mesh mesh_;
  std::optional<GradientSync> sync_;
  std::optional<Engine> engine_;
  std::optional<Optimizer> optimizer_;
  int64_t steps_ = 0;
};

}  // namespace memring
