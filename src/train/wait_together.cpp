// SPDX-License-Identifier: Apache-2.0
#include "train/wait_together.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"

namespace memring {

bool wait_together(Session& session, const SignalWatch& signals, double seconds, const std::function<bool()>& done) {
  using Clock = std::chrono::steady_clock;
  enum Answer : int64_t { Yes, NotYet, TimeOver, Stop };
  const auto start = Clock::now();
  for (;;) {
    session.progress().advance();
    const double left = seconds - std::chrono::duration<double>(Clock::now() - start).count();
    // A signal ends a wait; where there is nothing to wait for, the run takes it as at any other moment.
    const Answer mine = done() ? Yes : signals.terminate() ? Stop : left <= 0 ? TimeOver : NotYet;
    const int64_t all = session.world().all_reduce_max(mine);
    if (all == Stop)
      throw Error(ExitCode::Again, "stopped by a signal before the first step", "Start the same command again.");
    if (all != NotYet) return all == Yes;
    std::this_thread::sleep_for(std::chrono::duration<double>(std::clamp(left, 0.05, 1.0)));
  }
}

}  // namespace memring
