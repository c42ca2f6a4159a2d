// Control groups: the groups that this process is in, in either version, from which limits on memory and time are read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace memring {

struct ControlGroup {
  std::filesystem::path folder;  ///< where its files lie
  std::string name;              ///< as the process sees it, for messages: "/slurm/job_7"
  bool version1 = false;         ///< of the controller that was asked for; else of version 2
};

/// The groups of a controller ("memory", "cpu") that this process is in: its own first, then the parents as far as they
/// can be seen. `proc` and `root` are where /proc and /sys/fs/cgroup lie; tests show trees of their own.
std::vector<ControlGroup> control_groups(std::string_view controller, const std::filesystem::path& proc = "/proc",
                                         const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace memring
