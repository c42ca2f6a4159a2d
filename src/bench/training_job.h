// A training job without data, log or end: what a benchmark steps through. Random tokens cost what real ones do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "checkpoint/checkpoint.h"
#include "train/training_run.h"

namespace memring {

/// The batch of one step.
class RandomBatch final : public TokenSource {
 public:
  RandomBatch(const Config& config, int64_t step) : config_(config), step_(static_cast<uint64_t>(step)) {}
  int64_t sequences() const override { return config_.data.batch; }
  SequenceShape shape() const override { return sequence_shape(config_); }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override;

 private:
  const Config& config_;
  uint64_t step_;
};

class TrainingJob {
 public:
  TrainingJob(const Config& config, Session& session) : TrainingJob(config, session.world(), session.node()) {}
  /// On the ranks of a group.
  TrainingJob(const Config&, Communicator& group, const NodeShare&);
  /// The step of a training run. Collective.
  void step();

  Engine& engine() { return run_.engine(); }
  std::string mesh() const { return describe(run_.mesh().shape()); }  ///< "1 x 1 x 2"
  /// This rank's part of what a checkpoint holds, and the words that go with it.
  CheckpointData state();
  CheckpointInfo info(Session&) const;

 private:
  const Config config_;
  TrainingRun run_;
  int64_t steps_ = 0;
};

}  // namespace memring
