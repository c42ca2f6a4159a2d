// Stop: what asks a run to stop or to save. Handlers set flags and nothing else; the flags ride in the step's
// reduction, so that all ranks act at the same step boundary.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "config/config.h"
#include "dist/gradient_sync.h"
#include "io/checkpoint.h"

namespace memring {

/// Catches SIGUSR1, SIGTERM and SIGINT while it lives; a second SIGINT ends the process at once with 130.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  bool usr1() const;       ///< since the last take_usr1
  bool terminate() const;  ///< SIGTERM or SIGINT
  void take_usr1();
};

/// Why a run ends.
enum class StopReason : uint8_t { None, Steps, Tokens, TargetLoss, Time, Signal };
const char* describe(StopReason);
bool finished(StopReason);  ///< reached what was asked for: exit 0; otherwise saved and stopped early: exit 75

class StopConditions {
 public:
  explicit StopConditions(const RunConfig&);
  /// This rank's wishes for the step's reduction: signals on any rank; the clock of rank 0 alone.
  void ask(StepSums&, bool rank0);
  /// After a reduction: the same answer on every rank.
  StopReason decide(const TrainState&, const ReducedStep&) const;
  /// Before the first step: a run that resumes may be finished already.
  StopReason decide(const TrainState&) const;

 private:
  RunConfig run_;
  SignalWatch signals_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace memring
