// Errors: one exception type that carries what was found, what to do, and the exit code of the process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace memring {

/// Exit codes are an interface (schedulers and scripts act on them).
enum class ExitCode : int {
  Done = 0,
  Mismatch = 1,      ///< a verification or comparison failed
  Usage = 2,         ///< command line or configuration
  Data = 65,         ///< unusable token file, fixture or checkpoint
  Numeric = 70,      ///< too many steps without a finite gradient
  Internal = 71,     ///< a broken invariant, or a lost rank
  Io = 74,           ///< the operating system refused: to read or write, memory, a thread
  Again = 75,        ///< saved and stopped early: start the same command again
  Interrupted = 130  ///< second SIGINT
};

/// `what()` says what was found and what was expected; `hint()` says what to do about it.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}
  ExitCode code() const { return code_; }
  const std::string& hint() const { return hint_; }

 private:
  ExitCode code_;
  std::string hint_;
};

/// A buffer whose shape or type breaks an operator's contract: a fault of the caller, never of the user.
class ShapeError : public Error {
 public:
  explicit ShapeError(const std::string& message)
      : Error(ExitCode::Internal, message, "This is a bug in memring; please report it.") {}
};

/// Throws an internal Error where an invariant does not hold.
inline void check(bool holds, const std::string& message) {
  if (!holds) throw Error(ExitCode::Internal, message, "This is a bug in memring; please report it.");
}

}  // namespace memring
