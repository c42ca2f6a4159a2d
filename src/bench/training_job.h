// A training job without data, log or end: what a benchmark steps through. Random tokens cost what real ones do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "checkpoint/checkpoint.h"
#include "train/training_run.h"

namespace memring {

/// The batch of one step: the first, until go_on() makes it the next one's.
class RandomBatch final : public TokenSource {
 public:
  explicit RandomBatch(const Config&);
  void go_on() { ++step_; }
  int64_t step() const { return step_; }
  int64_t sequences() const override { return sequences_; }
  SequenceShape shape() const override { return shape_; }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override;

 private:
  int64_t sequences_;
  SequenceShape shape_;
  uint64_t seed_;
  int vocab_;
  int64_t step_ = 0;
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
  CheckpointInfo info(const Config&, Session&) const;

 private:
  RandomBatch batch_;
  const double lr_;
  TrainingRun run_;
};

}  // namespace memring
