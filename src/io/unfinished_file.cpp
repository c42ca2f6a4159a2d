// The handler calls async-signal-safe functions only, and leaves ending the process to the signal's own action, so that
// a shell sees what happened.
// SPDX-License-Identifier: Apache-2.0
#include "io/unfinished_file.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <csignal>

namespace memring {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};
char guarded[PATH_MAX];  // a handler may not touch a std::string; empty: nothing to remove

void remove_guarded(int signal) {
  ::unlink(guarded);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

/// From one action to the other; what another part of the program or the caller (nohup) has set stays.
void replace_action(void (*from)(int), void (*to)(int)) {
  for (const int signal : kSignals) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == from) std::signal(signal, to);
  }
}

}  // namespace

UnfinishedFile::UnfinishedFile(std::string path) : path_(std::move(path)) {
  if (path_.size() >= sizeof guarded) return;
  path_.copy(guarded, path_.size());
  guarded[path_.size()] = '\0';
  replace_action(SIG_DFL, remove_guarded);
}

UnfinishedFile::~UnfinishedFile() {
  if (path_.empty()) return;
  ::unlink(path_.c_str());
  keep();
}

void UnfinishedFile::keep() {
  replace_action(remove_guarded, SIG_DFL);
  guarded[0] = '\0';
  path_.clear();
}

}  // namespace memring
