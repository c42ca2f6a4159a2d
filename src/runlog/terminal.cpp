// SPDX-License-Identifier: Apache-2.0
#include "runlog/terminal.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace memring {
namespace {

constexpr int kPatience = 1000;  // milliseconds

}  // namespace

// A pipe that is ready takes PIPE_BUF bytes without blocking.
bool Terminal::write(std::string_view text) {
  while (!text.empty()) {
    pollfd ready{descriptor_, POLLOUT, 0};
    const int found = ::poll(&ready, 1, lost() ? 0 : kPatience);
    if (found < 0 && errno == EINTR) continue;
    if (found == 0) return lose("its reader stands still");
    const ssize_t written = ::write(descriptor_, text.data(), std::min(text.size(), size_t{PIPE_BUF}));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return lose(std::strerror(errno));
    text.remove_prefix(static_cast<size_t>(written));
  }
  reason_.clear();
  return true;
}

bool Terminal::lose(const char* reason) {
  reason_ = reason;
  return false;
}

}  // namespace memring
