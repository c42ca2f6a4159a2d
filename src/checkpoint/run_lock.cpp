// RunLock: flock on <run>/lock. The kernel gives it up with its holder, whatever happens to that process.
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/run_lock.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/handle.h"
#include "base/machine.h"

namespace memring {
namespace {

/// "process 12 on node3"
std::string name_of_holder(pid_t process) { return fmt::format("process {} on {}", process, host_name()); }

bool lives_here(const std::string& holder) {
  const pid_t process = std::atoi(holder.c_str() + std::strlen("process "));
  return process > 0 && holder == name_of_holder(process) && (::kill(process, 0) == 0 || errno == EPERM);
}

std::string holder_in(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t length = ::pread(descriptor, text.data(), text.size() - 1, 0);
  const std::string line(text.data(), length > 0 ? static_cast<size_t>(length) : 0);
  const std::string holder = line.substr(0, line.find('\n'));
  return holder.empty() ? "another process" : holder;
}

}  // namespace

RunLock::RunLock(const std::string& run_directory) {
  std::error_code error;
  std::filesystem::create_directories(run_directory, error);
  if (error)
    throw Error(ExitCode::Io, fmt::format("cannot create folder {}: {}", run_directory, error.message()),
                "Choose another run.dir, or check the permissions of its parent.");
  const std::string path = run_directory + "/lock";
  Handle<DescriptorTraits> file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("cannot open {}: {}", path, std::strerror(reason)),
                "Choose another run.dir, or check its permissions.");
  }
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (reason == EWOULDBLOCK) {
      const std::string holder = holder_in(file.get());
      throw RunInUse(fmt::format("{} is in use by {}", run_directory, holder),
                     "Wait for that run to end or stop it, or choose another run.dir.", lives_here(holder));
    }
    throw Error(ExitCode::Io, fmt::format("cannot lock {}: {}", path, std::strerror(reason)),
                "The file system must offer locks (on Lustre, mount it with flock); or choose another run.dir.");
  }
  const std::string holder = name_of_holder(::getpid()) + "\n";
  // The name is for messages only, so a full disk must not keep the run from starting.
  if (::ftruncate(file.get(), 0) == 0) (void)!::pwrite(file.get(), holder.data(), holder.size(), 0);
  fd_ = file.release();
}

RunLock::~RunLock() { ::close(fd_); }

}  // namespace memring
