// Stop: what asks a run to stop or to save. Signals set flags and nothing else; the flags ride in the step's
// reduction, so that all ranks act at the same step boundary.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "config/config.h"
#include "dist/gradient_sync.h"
#include "train/curriculum.h"
#include "train/train_state.h"

namespace memring {

/// Receives SIGUSR1, SIGTERM, SIGINT, SIGHUP, SIGXCPU and SIGUSR2 while it lives; a second SIGINT ends the process at
/// once with 130. A SIGHUP that the caller had ignored (nohup) stays so, and so do SIGPIPE and SIGTTOU from here on: a
/// run outlives its terminal. docs/signals.md is the whole table.
///
/// A thread of its own waits for them, and every other thread blocks them: oneDNN 2.6's generated matrix products keep
/// data below the stack pointer, where a handler's frame would overwrite it. So make this before MPI or OpenMP start
/// threads.
class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;
  bool terminate() const { return terminate_; }       ///< any of them but SIGUSR1
  bool take_usr1() { return usr1_.exchange(false); }  ///< since the last call

 private:
  void listen();
  std::atomic<bool> usr1_{false}, terminate_{false}, ended_{false};
  std::thread thread_;
};

/// Why a run ends.
enum class StopReason : uint8_t { None, Steps, Tokens, Curriculum, TargetLoss, Time, Signal };
const char* describe(StopReason);
bool finished(StopReason);  ///< reached what was asked for: exit 0; otherwise saved and stopped early: exit 75

class StopConditions {
 public:
  /// `curriculum` must outlive it.
  StopConditions(const RunConfig&, const Curriculum& curriculum, SignalWatch&);
  /// This rank's wishes for the step's reduction: signals on any rank; the clock of rank 0 alone.
  void ask(StepSums&, bool rank0);
  /// After a reduction: the same answer on every rank.
  StopReason decide(const TrainState&, const ReducedStep&) const;
  /// Before the first step: a run that resumes may be finished already.
  StopReason decide(const TrainState&) const;

 private:
  RunConfig run_;
  const Curriculum& curriculum_;
  SignalWatch& signals_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace memring
