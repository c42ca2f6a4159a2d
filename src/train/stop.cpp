// SPDX-License-Identifier: Apache-2.0
#include "train/stop.h"

#include <signal.h>
#include <unistd.h>

#include "base/error.h"

namespace memring {
namespace {

volatile sig_atomic_t usr1_seen = 0, terminate_seen = 0, interrupt_seen = 0;

void on_usr1(int) { usr1_seen = 1; }
void on_terminate(int) { terminate_seen = 1; }
void on_interrupt(int) {
  terminate_seen = 1;
  if (interrupt_seen) _exit(static_cast<int>(ExitCode::Interrupted));
  interrupt_seen = 1;
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

SignalWatch::SignalWatch() {
  usr1_seen = 0;
  terminate_seen = 0;
  interrupt_seen = 0;
  handle(SIGUSR1, on_usr1);
  handle(SIGTERM, on_terminate);
  handle(SIGINT, on_interrupt);
}

SignalWatch::~SignalWatch() {
  // A late SIGUSR1, while the last save is written, must not kill the run that it asked to save.
  handle(SIGUSR1, SIG_IGN);
  handle(SIGTERM, SIG_DFL);
  handle(SIGINT, SIG_DFL);
}

bool SignalWatch::usr1() const { return usr1_seen; }
bool SignalWatch::terminate() const { return terminate_seen; }
void SignalWatch::take_usr1() { usr1_seen = 0; }

const char* describe(StopReason reason) {
  switch (reason) {
    case StopReason::None:
      return "running";
    case StopReason::Steps:
      return "run.steps reached";
    case StopReason::Tokens:
      return "run.tokens reached";
    case StopReason::TargetLoss:
      return "run.target_loss reached";
    case StopReason::Time:
      return "run.time is over";
    case StopReason::Signal:
      return "stopped by a signal";
  }
  return "?";
}

bool finished(StopReason reason) {
  return reason == StopReason::Steps || reason == StopReason::Tokens || reason == StopReason::TargetLoss;
}

StopConditions::StopConditions(const RunConfig& run) : run_(run) {}

void StopConditions::ask(StepSums& sums, bool rank0) {
  const bool goes_on = run_.on_usr1 == "continue";
  if (signals_.usr1()) (goes_on ? sums.save : sums.stop) = true;
  if (goes_on) signals_.take_usr1();
  if (signals_.terminate()) sums.stop = true;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  if (rank0 && run_.time > 0 && elapsed.count() >= run_.time) sums.time_over = true;
}

StopReason StopConditions::decide(const TrainState& state) const {
  if (run_.steps > 0 && state.step >= run_.steps) return StopReason::Steps;
  if (run_.tokens > 0 && state.tokens >= run_.tokens) return StopReason::Tokens;
  return StopReason::None;
}

StopReason StopConditions::decide(const TrainState& state, const ReducedStep& reduced) const {
  if (const StopReason reason = decide(state); reason != StopReason::None) return reason;
  if (run_.target_loss > 0 && reduced.finite && reduced.loss() <= run_.target_loss) return StopReason::TargetLoss;
  if (reduced.sums.stop) return StopReason::Signal;
  if (reduced.sums.time_over) return StopReason::Time;
  return StopReason::None;
}

}  // namespace memring
