// Runs a subcommand that needs ranks: starts MPI, and turns an exception into one message and the end of the whole job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "dist/session.h"

namespace memring {

/// Starts a Session, returns what `run` returns. An exception ends the job with the exit code of as_error().
int with_session(int argc, char** argv, const std::function<int(Session&)>& run);

}  // namespace memring
