// What this process was started in, as far as it decides how many threads compute: variables and affinity as they were
// before the OpenMP library looked at the one and changed the other.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <string>
#include <string_view>
#include <vector>

namespace memring {

/// The cores on which this process may run: as it was started where OMP_PROC_BIND or its like then bound the main
/// thread to one of them, as it is now otherwise (MPI may bind a rank).
cpu_set_t allowed_cores();

/// "NAME=value" of each variable that could make a team of threads smaller than it was asked for, and was therefore
/// taken out of the environment before the OpenMP library read it.
std::vector<std::string> set_aside_variables();

/// The value of a variable, of one that was set aside too; empty where there is none.
std::string variable(std::string_view name);

}  // namespace memring
