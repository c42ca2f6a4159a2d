// TrainState: what must survive of a run besides weights and optimizer moments, written once: checkpoints, their
// manifests and whoever reads them back walk the same list. The log does not: a record of it is about a step (whose
// loss may be no number) or a stage (counted from 1) and takes but a few of these numbers; its fields are a schema
// of their own (docs/metrics.md), which readers outside rely on whatever a checkpoint calls its numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/named_numbers.h"

namespace memring {

/// Memory is fresh at each sequence, so these are only counters, and where the curriculum stands.
struct TrainState {
  int64_t step = 0;     ///< optimizer steps done
  int64_t tokens = 0;   ///< text tokens trained on
  int64_t skipped = 0;  ///< steps skipped because the gradient was not finite
  int64_t skipped_in_row = 0;
  double seconds = 0;  ///< spent training, over all restarts

  int64_t stage = 0;        ///< stages of the curriculum that are behind it; all of them once the last is learned
  int64_t stage_steps = 0;  ///< steps done in the one it is in
  double stage_loss = 0;    ///< running average over its batches of full length; 0: none yet

  double loss = 0;       ///< the last one that was a number, nats per token
  double mean_loss = 0;  ///< running average of it; 0: none yet
  double best_loss = 0;  ///< the smallest that this average was; 0: none yet
  bool sound = true;     ///< weights that learn (train/soundness.h), not what a diverged run leaves behind

  bool operator==(const TrainState&) const = default;
};

/// Calls always(name, number) for those that every checkpoint has, then later(name, number) for those that its first
/// ones had not, in the order in which they are saved. `State` may be const.
template <class State, class Always, class Later>
void for_each_number(State& state, Always&& always, Later&& later) {
  always("step", state.step);
  always("tokens", state.tokens);
  always("skipped", state.skipped);
  always("skipped_in_row", state.skipped_in_row);
  always("seconds", state.seconds);
  later("stage", state.stage);
  later("stage_steps", state.stage_steps);
  later("stage_loss", state.stage_loss);
  later("loss", state.loss);
  later("mean_loss", state.mean_loss);
  later("best_loss", state.best_loss);
  later("sound", state.sound);
}

NamedNumbers numbers_of(const TrainState&);
/// Those that were not saved yet have their defaults. Throws Error(Data) where another is missing.
TrainState train_state(const NamedNumbers&);

}  // namespace memring
