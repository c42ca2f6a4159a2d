// What doctor asks the operating system beyond base/machine.h: the processor's name, the disk.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace memring {

std::string cpu_name();  ///< as /proc/cpuinfo has it, or "unknown CPU"

struct DiskCheck {
  int64_t free = 0;     ///< bytes that this user may still write
  double seconds = 0;   ///< write, fsync, rename, fsync of the directory
  std::string problem;  ///< the step that failed and why; empty = all work
};
/// Writes, syncs, renames and removes a small file in `directory`: what saving a checkpoint needs.
DiskCheck check_disk(const std::string& directory);

}  // namespace memring
