// The watchdog's thread. It calls nothing that the hanging thread may hold a lock of: no stdio, no MPI.
// SPDX-License-Identifier: Apache-2.0
#include "dist/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

std::string description(const Progress& progress, double limit, const std::string& who) {
  std::string what = progress.verb.load();
  if (const int peer = progress.peer.load(); peer >= 0) what += fmt::format(", peer rank {}", peer);
  if (const int segment = progress.segment.load(); segment >= 0)
    what += fmt::format(", segment {}, layer {}", segment, progress.layer.load());
  return fmt::format(
      "memring: {}: no progress for {:g} s at step {}, action {} ({}). The other ranks' lines tell who waited for "
      "whom. "
      "Start the same command again to go on from the last checkpoint; if one action may really take this long, raise "
      "run.timeout.\n",
      who, limit, progress.step.load(), progress.action.load(), what);
}

}  // namespace

struct Watchdog::State {
  std::mutex mutex;
  std::condition_variable wake;
  bool ended = false;
  std::thread thread;

  void watch(const Progress& progress, Seconds limit, const std::string& who) {
    const Seconds period = std::min(Seconds(1), limit / 10);
    auto seen = std::pair(progress.step.load(), progress.action.load());
    Seconds idle{0};
    Clock::time_point before = Clock::now();
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, period, [&] { return ended; })) {
      const Clock::time_point now = Clock::now();
      // A process that was suspended (SIGSTOP, a scheduler's suspend) wakes to a late clock; it had no chance to
      // progress.
      idle += std::min(Seconds(now - before), 2 * period);
      before = now;
      const auto current = std::pair(progress.step.load(), progress.action.load());
      if (std::exchange(seen, current) != current) idle = Seconds(0);
      if (idle < limit) continue;
      const std::string line = description(progress, limit.count(), who);
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
      ::_exit(static_cast<int>(ExitCode::Again));
    }
  }
};

Watchdog::Watchdog(Progress& progress, double seconds, std::string who) {
  if (!(seconds > 0)) return;
  state_ = std::make_unique<State>();
  // Signals are the main thread's: the new thread inherits a mask that blocks them all.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get(), &progress, seconds, name = std::move(who)] {
    state->watch(progress, Seconds(seconds), name);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  if (!state_) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->ended = true;
  }
  state_->wake.notify_one();
  state_->thread.join();
}

}  // namespace memring
