// Saver: what a run saves and resumes from, and the words that go with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "data/dataset.h"
#include "dist/mesh.h"
#include "dist/session.h"
#include "engine/engine.h"
#include "io/checkpoint.h"
#include "runlog/runlog.h"
#include "train/optimizer.h"

namespace memring {

/// Where a run goes on, and what there is to say about it.
struct Resumed {
  TrainState state;
  std::string path;  ///< of the checkpoint; empty: a fresh run
  std::vector<std::string>
      differences;                    ///< from the run that saved: it goes on as if never stopped where there are none
  std::vector<std::string> warnings;  ///< damaged checkpoints that were passed over
};

/// Every call is collective over the session's ranks; what it was made from must outlive it.
class Saver {
 public:
  Saver(const Config&, const Dataset&, Session&, Mesh&, Engine&, Optimizer&, Range shard);

  /// Loads the newest good checkpoint of the run directory. Throws Error(Usage) when it is of another run.
  Resumed resume();
  /// While training goes on: that a save fails is a warning, for it costs no more than the time since the last good
  /// one. Throws Error(Numeric) when the weights are not finite, Error(Data) when the text was rewritten meanwhile.
  void try_save(const TrainState&, RunLog&);
  /// The last save of a run: returns when it is committed, or throws.
  void save_and_wait(const TrainState&, RunLog&);
  /// The first time that a save has been committed: how long before its end a job must be told to save.
  void say_lead(double step_seconds, RunLog&);

 private:
  void save(const TrainState&, RunLog&);
  void settle(RunLog&);
  void tolerate(const std::function<void()>& write, RunLog&);

  Config config_;
  const Dataset& dataset_;
  CheckpointData data_;
  CheckpointInfo info_;
  Communicator& world_;
  Queue& queue_;
  std::string directory_;
  int64_t keep_;
  std::unique_ptr<CheckpointWriter> writer_;
  int64_t last_saved_ = -1;
  bool lead_said_ = false;
};

}  // namespace memring
