// LaterSaves: when a run saves before its end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "config/config.h"
#include "dist/gradient_sync.h"

namespace memring {

/// By steps on every rank alike, and by the clock of rank 0, which asks in the reduction. Only the step behind a save's
/// own shows whether its weights are sound, so the save waits for it.
class LaterSaves {
 public:
  explicit LaterSaves(const CheckpointConfig&);
  /// This rank's wish for the step's reduction.
  void ask(StepSums&, bool rank0) const;
  /// After `step` steps: whether their weights are to be saved, once they have proved sound.
  void plan(int64_t step, const StepSums& reduced);
  /// Whether a save has been planned since the last call.
  bool take_due();

 private:
  using Clock = std::chrono::steady_clock;
  CheckpointConfig config_;
  Clock::time_point last_ = Clock::now();
  bool due_ = false;
};

}  // namespace memring
