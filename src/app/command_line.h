// From argv to a CommandLine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "app/commands.h"

namespace memring {

/// Parses what follows `memring COMMAND`. Throws Error(Usage) for an unknown option (naming the nearest one), a missing
/// or wrong value and a wrong number of arguments.
CommandLine parse_command_line(const Command&, int argc, char** argv);

}  // namespace memring
