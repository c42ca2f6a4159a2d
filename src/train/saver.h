// Saver: what a run saves and resumes from, and the words that go with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/files.h"
#include "config/config.h"
#include "data/dataset.h"
#include "dist/mesh.h"
#include "dist/session.h"
#include "engine/engine.h"
#include "kernels/norm/norm.h"
#include "runlog/runlog.h"
#include "train/frozen_weights.h"
#include "train/optimizer.h"

namespace memring {

/// Where a run goes on, and what there is to say about it.
struct Resumed {
  TrainState state;
  std::string path;  ///< of the checkpoint; empty: a fresh run
  std::vector<std::string>
      differences;                    ///< from the run that saved: it goes on as if never stopped where there are none
  std::vector<std::string> warnings;  ///< of damaged checkpoints that were passed over, or of what is odd
  std::vector<std::string> aside;     ///< newer checkpoints that have been renamed; rank 0 only
  std::vector<std::string> weights;   ///< of a fresh run with model.from: what it starts with
  std::vector<std::string> bases;     ///< of an adapter: those that are kept in its run from now on; rank 0 only
};

/// Every call is collective over the session's ranks; what it was made from must outlive it, but for the configuration.
class Saver {
 public:
  Saver(const Config&, const Dataset&, Session&, Mesh&, Engine&, Optimizer&, Range shard);

  /// Loads the checkpoint that checkpoint.resume names, by default the newest good one, and renames newer ones aside
  /// when it names one. Where there is none, takes the weights that model.from names. Throws Error(Usage) when it is of
  /// another run, and Error(Data) when there is none although one was committed.
  Resumed resume(const Config&);
  /// The first step has found the weights of the checkpoint that was resumed to be unsound, whatever it says itself.
  void doubt_resumed(RunLog&);
  /// While training goes on: that a save fails is a warning, for it costs no more than the time since the last good
  /// one. Throws Error(Numeric) when the weights are not finite, Error(Data) when the text was rewritten meanwhile.
  void try_save(const TrainState&, RunLog&);
  /// Waits for the save in flight. That it failed is a warning too.
  void settle(RunLog&);
  /// The last save of a run: returns when it is committed, or throws.
  void save_and_wait(const TrainState&, RunLog&);
  /// Between steps: that a save has been committed, and the first time how long before its end a job must be told to
  /// save.
  void tell(double step_seconds, RunLog&);
  /// What to do about a run that has gone astray: from which checkpoint to go on, and how.
  std::string way_back();

 private:
  void start_from_weights(const Config&, Resumed&);
  void keep(const Bases&, Resumed&);
  void warn_about(const CheckpointSummary& newest, std::vector<std::string>& warnings) const;
  void expect_same_folder() const;
  void save(const TrainState&);
  void tell_committed(RunLog&);
  void tolerate(const std::function<void()>& write, RunLog&);

  const bool clips_;  ///< gradients, by their norm
  const Dataset& dataset_;
  const Params& params_;
  CheckpointData data_;  ///< where the run has it
  CheckpointInfo info_;
  Communicator& world_;
  Queue& queue_;
  SquaredNormReader norm_;
  FolderId folder_;  ///< of the run directory; rank 0 only
  std::string run_, directory_;
  WriterOptions options_;
  std::unique_ptr<CheckpointWriter> writer_;
  int64_t last_saved_ = -1, resumed_ = -1;
  int64_t in_flight_ = -1;  ///< step of a save of which nobody has been told yet that it is committed
  double held_ = 0;         ///< seconds, by that save
  bool lead_said_ = false;
};

}  // namespace memring
