// SPDX-License-Identifier: Apache-2.0
#include "train/stop.h"

#include <signal.h>
#include <unistd.h>

#include "base/error.h"

namespace memring {
namespace {

bool ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

/// (Linux would hand an ignored signal to sigwait.)
sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGXCPU}) sigaddset(&set, signal);
  if (!ignored(SIGHUP)) sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

SignalWatch::SignalWatch() {
  for (const int number : {SIGPIPE, SIGTTOU}) ::signal(number, SIG_IGN);
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // threads made from here on inherit it
  thread_ = std::thread(&SignalWatch::listen, this);
}

SignalWatch::~SignalWatch() {
  ended_ = true;
  pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

void SignalWatch::listen() {
  const sigset_t set = watched();
  for (int signal = 0, interrupts = 0; !ended_ && sigwait(&set, &signal) == 0;) {
    if (signal == SIGUSR1)
      usr1_ = true;
    else
      terminate_ = true;
    if (signal == SIGINT && ++interrupts > 1) _exit(static_cast<int>(ExitCode::Interrupted));
  }
}

const char* describe(StopReason reason) {
  switch (reason) {
    case StopReason::None:
      return "running";
    case StopReason::Steps:
      return "run.steps reached";
    case StopReason::Tokens:
      return "run.tokens reached";
    case StopReason::Curriculum:
      return "curriculum.after is over";
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
  return reason == StopReason::Steps || reason == StopReason::Tokens || reason == StopReason::Curriculum ||
         reason == StopReason::TargetLoss;
}

StopConditions::StopConditions(const RunConfig& run, const Curriculum& curriculum, SignalWatch& signals)
    : run_(run), curriculum_(curriculum), signals_(signals) {}

void StopConditions::ask(StepSums& sums, bool rank0) {
  if (signals_.take_usr1()) (run_.on_usr1 == OnUsr1::Continue ? sums.save : sums.stop) = true;
  if (signals_.terminate()) sums.stop = true;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  if (rank0 && run_.time > 0 && elapsed.count() >= run_.time) sums.time_over = true;
}

StopReason StopConditions::decide(const TrainState& state) const {
  if (run_.steps > 0 && state.step >= run_.steps) return StopReason::Steps;
  if (run_.tokens > 0 && state.tokens >= run_.tokens) return StopReason::Tokens;
  if (curriculum_.over(state)) return StopReason::Curriculum;
  if (run_.target_loss > 0 && state.mean_loss > 0 && state.loss <= run_.target_loss) return StopReason::TargetLoss;
  return StopReason::None;
}

StopReason StopConditions::decide(const TrainState& state, const ReducedStep& reduced) const {
  if (const StopReason reason = decide(state); reason != StopReason::None) return reason;
  if (reduced.sums.stop) return StopReason::Signal;
  if (reduced.sums.time_over) return StopReason::Time;
  return StopReason::None;
}

}  // namespace memring
