// The handler calls async-signal-safe functions only, and leaves ending the process to the signal's own action, so that
// a shell sees what happened.
// SPDX-License-Identifier: Apache-2.0
#include "io/unfinished_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <filesystem>

#include "base/machine.h"
#include "io/file.h"

namespace memring {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};
constexpr const char* kMark = ".tmp-";

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

std::string unfinished_name(const std::string& path) {
  return fmt::format("{}{}{}-{}", path, kMark, ::getpid(), host_name());
}

void remove_unfinished(const std::string& path) {
  namespace fs = std::filesystem;
  const std::string mine = fmt::format("-{}", host_name()), start = fs::path(path).filename().string() + kMark;
  std::error_code error;
  for (fs::directory_iterator entry(folder_of(path), error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(start)) continue;
    pid_t process = 0;
    const char* end = name.data() + name.size();
    const auto [rest, wrong] = std::from_chars(name.data() + start.size(), end, process);
    const bool known = wrong == std::errc() && process > 0 && std::string(rest, end) == mine;
    std::error_code ignored;
    if (known && ::kill(process, 0) != 0 && errno == ESRCH) fs::remove(entry->path(), ignored);
  }
}

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
