// UnfinishedFile: a file under a temporary name that goes with whoever was writing it, a process ended by a signal
// included.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

namespace memring {

/// "PATH.tmp-<process>-<host>": says who is writing it.
std::string unfinished_name(const std::string& path);
/// Removes what processes of this host left behind that are gone (killed by SIGKILL, or with the machine) while they
/// were writing `path`. Best effort.
void remove_unfinished(const std::string& path);

/// Removes the file at the end of its life, or when SIGINT, SIGTERM or SIGHUP ends the process (where these would end
/// it anyway), unless it was kept. One at a time is guarded against signals.
class UnfinishedFile {
 public:
  explicit UnfinishedFile(std::string path);
  ~UnfinishedFile();
  UnfinishedFile(UnfinishedFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  UnfinishedFile& operator=(UnfinishedFile&&) = delete;

  const std::string& path() const { return path_; }
  void keep();  ///< it has its final name now

 private:
  std::string path_;  // empty: nothing to remove
};

}  // namespace memring
