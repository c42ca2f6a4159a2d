// Watchdog: Open MPI cannot tell that a peer hangs. A thread per rank reads what the rank is doing; when nothing has
// progressed for the time limit it prints that line and ends the process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace memring {

/// What the rank does right now, written by the main thread before each action: cheap and lock-free. A change of step
/// or action is progress; the rest says in the message what hangs (peer and segment below 0: none).
struct Progress {
  std::atomic<int64_t> step{0}, action{0};
  std::atomic<int32_t> peer{-1}, segment{-1}, layer{-1};
  std::atomic<const char*> verb{"start"};  ///< static text
};

class Watchdog {
 public:
  /// seconds <= 0: no thread. `who` names rank and host in the message. On expiry: one line, then _exit(75). Time in
  /// which the process was suspended does not count.
  Watchdog(Progress&, double seconds, std::string who);
  ~Watchdog();  ///< joins at once
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memring
