// Terminal: standard output and standard error of a run, which may outlive both: a reader that goes away (`| head`, a
// closed window) or stands still must neither end nor hold up training.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace memring {

/// SIGPIPE and SIGTTOU must be ignored (SignalWatch does it).
class Terminal {
 public:
  explicit Terminal(int descriptor) : descriptor_(descriptor) {}

  /// Writes the text. False where it cannot be written, or not within a second: what is left of it is dropped, and from
  /// then on nothing is waited for until something could be written again.
  bool write(std::string_view text);
  bool lost() const { return !reason_.empty(); }
  const std::string& reason() const { return reason_; }  ///< in words; empty: the last text was written

 private:
  bool lose(const char* reason);
  int descriptor_;
  std::string reason_;
};

}  // namespace memring
