// A training job without data, log or end: what a benchmark steps through. Random tokens cost what real ones do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "checkpoint/checkpoint.h"
#include "engine/engine.h"
#include "train/optimizer.h"

namespace memring {

class TrainingJob {
 public:
  /// Without `backward` it is an evaluation: forward only, nothing is learned.
  TrainingJob(const Config& config, Session& session, bool backward = true)
      : TrainingJob(config, session.world(), session.node(), backward) {}
  /// On the ranks of a group.
  TrainingJob(const Config&, Communicator& group, const NodeShare&, bool backward = true);
  /// Forward, backward, reduction and update, as in train(). Collective.
  void step();

  Engine& engine() { return *engine_; }
  std::string mesh() const { return describe(mesh_.shape()); }  ///< "1 x 1 x 2"
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
