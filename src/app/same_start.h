// Ranks that were started with different programs or configurations must not compute together: found before the first
// step, by comparing what each rank has.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config.h"
#include "dist/session.h"

namespace memring {

/// Throws Error(Usage) on one rank that runs another command or build of memring than rank 0: before anything else that
/// ranks do together. Collective.
void require_same_program(Session&, const std::string& command);

/// Throws Error(Usage) on one rank that has another configuration than rank 0, saying what differs. Threads,
/// memory, instruction set and the data's place may differ from host to host. Collective.
void require_same_start(Session&, const Config&);

}  // namespace memring
