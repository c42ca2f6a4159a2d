// Watchdog: Open MPI cannot tell that a peer hangs, and says of a lost one only that it is gone. A thread per rank
// looks at the board of its host; the first that finds a hang or a lost rank prints one report of where all ranks of
// the host stand, and ends its process, whereupon the launcher ends the job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "dist/progress.h"

namespace memring::supervision {

class Watchdog {
 public:
  /// What the report says of the job besides its ranks' positions.
  struct Job {
    std::string host;
    int ranks = 1;  ///< on all hosts
  };
  /// Ends the process with 75 when no rank of the host has progressed for `seconds` (<= 0: no thread), with 71 when the
  /// process of one has vanished. Time in which the whole host was suspended does not count.
  Watchdog(Board, double seconds, Job);
  ~Watchdog();  ///< joins at once
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memring::supervision
