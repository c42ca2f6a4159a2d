// Runs a subcommand that needs ranks: starts MPI, and turns an exception into one message and the end of the whole job.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <functional>

#include "base/error.h"
#include "dist/session.h"

namespace memring {

/// Starts a Session, returns what `run` returns. An Error ends the job with its exit code, any other exception with 71.
int with_session(int argc, char** argv, const std::function<int(Session&)>& run);

/// Any exception as an Error; one that is not an Error becomes an internal one.
Error as_error(const std::exception&);

}  // namespace memring
