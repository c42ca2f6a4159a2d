// What this process has of the machine it runs on; memory_limits.h says how much memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace memring {

std::string host_name();      ///< the whole name that the system has, or "unknown"
int process_cores();          ///< cores that this process may run on
int machine_cores();          ///< cores that are online
int64_t peak_memory();        ///< VmHWM of this process, in bytes
int64_t reset_peak_memory();  ///< peak_memory() starts again from what is taken now, which it returns
double process_seconds();     ///< since this process was started

}  // namespace memring
