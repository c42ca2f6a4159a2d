// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include "train/run_control.h"
#include "train/started_run.h"

namespace memring {

ExitCode train(const Config& config, Session& session, SignalWatch& signals,
               const std::vector<std::pair<std::string, std::string>>& told) {
  StartedRun started(config, session, signals, told);
  RunControl control(config, session, started, signals);
  while (!control.over()) {
    const PlannedStep step = control.next();                          // a pure function of the training state
    const auto batch = started.dataset->at(step.number, step.shape);  // of the step
    const auto ask = [&](StepSums& local) { control.ask(local); };
    const auto decide = [&](const ReducedStep& reduced) { return control.decide(step, reduced); };
    // Forward, loss, backward, the sums over ranks, and the update unless it is skipped.
    const ReducedStep reduced = started.run.step(*batch, step.number, ask, decide);
    control.follow(step, reduced);  // counts, log, saves, stop
  }
  return control.finish();
}

}  // namespace memring
