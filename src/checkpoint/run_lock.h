// RunLock: one job at a time in a run directory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"

namespace memring {

/// `here`: the holder is a living process of this host; otherwise it may be one that its host has lost.
class RunInUse : public Error {
 public:
  RunInUse(const std::string& message, const std::string& hint, bool here)
      : Error(ExitCode::Usage, message, hint), here_(here) {}
  bool here() const { return here_; }

 private:
  bool here_;
};

/// Keeps a second job out of a run directory: an exclusively locked file, <run>/lock, that names the holder's host and
/// process. The lock is the system's and ends with the process, so a file left behind blocks nobody. For rank 0.
class RunLock {
 public:
  /// Creates the directory when missing. Never waits: throws RunInUse naming the holder.
  explicit RunLock(const std::string& run_directory);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace memring
