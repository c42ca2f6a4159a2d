// What the system or a library refused, in the words and exit codes of Error: a limit or a permission is no bug.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "base/error.h"

namespace memring {

/// Any exception as an Error: what the system refused (files, threads, memory) with ExitCode::Io, what nobody expected
/// with Internal.
Error as_error(const std::exception&);

/// A thread was refused, as `message` says.
Error out_of_threads(const std::string& message);

/// Memory was refused: says how much (0: unknown), and which limit counts.
Error out_of_memory(int64_t bytes = 0);

}  // namespace memring
