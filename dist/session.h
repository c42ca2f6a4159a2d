// Session: this process as a rank of a job, from MPI's start to a clean or a failing end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "dist/communicator.h"
#include "dist/progress.h"

namespace memring {

/// What a rank has of its host.
struct NodeShare {
  int rank = 0;   ///< among the ranks of this host
  int ranks = 1;  ///< on this host
  int cores = 1;  ///< for this rank: all cores that the host's ranks may use between them (no more than the container
                  ///< has time for), over the ranks, or fewer where it is bound
  Progress* progress = nullptr;  ///< this rank's place on the host's board; null outside a session
};

/// Starts MPI (MPI_THREAD_SERIALIZED at least) and ends it. A plain start without mpirun is a world of one. One per
/// process.
class Session {
 public:
  Session(int& argc, char**& argv);
  ~Session();  ///< finalises MPI (all ranks wait for each other); never while an exception unwinds
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Communicator& world();
  int rank() const;
  int size() const;
  const std::string& host() const;
  const NodeShare& node() const;
  /// All hosts of the job, in the order of their first ranks, and how many ranks each has. Collective.
  std::vector<std::pair<std::string, int>> hosts();
  Progress& progress() { return *node().progress; }  ///< for the main thread to keep up to date
  /// From here to the end of the session a watchdog ends the job when no rank of this host progresses for `seconds`, or
  /// one vanishes. 0: none. Once.
  void watch(double seconds);
  std::string library() const;  ///< "Open MPI v4.1.4, MPI_THREAD_SERIALIZED"

  /// Prints the error ("memring: rank 3 of 8 (node17): ..." and the hint on a second line), ends the whole job with its
  /// exit code within seconds, and does not return. In a world of one it prints "memring: ..." and exits. Rank 0 speaks
  /// first: another rank waits for a moment, so that what all ranks find is said once. SIGTERM ends the process at once
  /// from here on.
  [[noreturn]] void fail(const Error&);

 private:
  void join_node();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memring
