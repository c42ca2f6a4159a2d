// RunControl: what happens around the steps of a run: what each is to be, whether it changes the weights, and what
// follows from it: counts, stages, the log, saves, and the end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>

#include "config/config.h"
#include "dist/session.h"
#include "train/later_saves.h"
#include "train/started_run.h"
#include "train/stop.h"
#include "train/training_run.h"

namespace memring {

/// What a step is to be: it follows from the training state alone.
struct PlannedStep {
  int64_t number = 0;   ///< from 0
  SequenceShape shape;  ///< of its sequences
  Update update;        ///< where it is not skipped
};

/// For each step next(), ask(), decide() and follow(), in this order. All ranks make the same calls, and decide alike.
class RunControl {
 public:
  /// The last three must outlive it.
  RunControl(const Config&, Session&, StartedRun&, SignalWatch&);

  /// Whether no step follows: it ends where it has reached what was asked for, or was told to stop. Such a stop waits
  /// among skipped steps for the first that is not, or for the end of patience with them.
  bool over() const { return ends(reason_); }
  PlannedStep next();
  /// Adds this rank's wishes to the step's sums: to stop, to save.
  void ask(StepSums&);
  /// Judges the weights that the step was about, makes the save that waited for that, and says whether they change.
  std::optional<Update> decide(const PlannedStep&, const ReducedStep&);
  /// Counts the step and tells of it. Throws Error(Numeric) after too many in a row that were skipped.
  void follow(const PlannedStep&, const ReducedStep&);
  /// The last save. Returns 0 (done) or 75 (saved and stopped early); throws Error where no save can be made.
  ExitCode finish();

 private:
  using Clock = std::chrono::steady_clock;
  bool ends(StopReason) const;
  void note_stop(StopReason);
  StageRecord stage() const;
  StepRecord record(const PlannedStep&, const ReducedStep&) const;
  [[noreturn]] void give_up();

  const Config config_;
  const double chance_;  ///< loss of guessing, nats
  Session& session_;
  const Curriculum& curriculum_;
  RunLog& log_;
  Saver& saver_;
  TrainState state_;
  // Where this start went on.
  const int64_t first_step_;
  const double seconds_before_;
  LaterSaves saves_;
  StopConditions stop_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point step_start_ = start_;
  StopReason reason_;
};

}  // namespace memring
