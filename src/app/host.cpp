// SPDX-License-Identifier: Apache-2.0
#include "app/host.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace memring {
namespace {

/// The value behind `key :` in one of /proc's files, or empty.
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    const size_t begin = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return {};
}

class TestFile {
 public:
  explicit TestFile(const std::string& directory)
      : before_(directory + "/.memring-doctor-XXXXXX"), fd_(mkstemp(before_.data())), after_(before_ + ".renamed") {}
  ~TestFile() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(before_.c_str());
    unlink(after_.c_str());
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  int fd() const { return fd_; }
  bool rename() const { return std::rename(before_.c_str(), after_.c_str()) == 0; }

 private:
  std::string before_;
  int fd_;
  std::string after_;
};

bool sync_directory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  const bool synced = fsync(fd) == 0;
  const int reason = errno;
  close(fd);
  errno = reason;
  return synced;
}

}  // namespace

std::string cpu_name() {
  const std::string name = proc_value("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown CPU" : name;
}

DiskCheck check_disk(const std::string& directory) {
  DiskCheck result;
  struct statvfs space {};
  if (statvfs(directory.c_str(), &space) == 0)
    result.free = static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  const auto start = std::chrono::steady_clock::now();
  auto step = [&](bool works, const char* what) {
    const int reason = errno;
    if (!works && result.problem.empty()) result.problem = std::string(what) + ": " + std::strerror(reason);
    return works;
  };
  const TestFile file(directory);
  constexpr char kText[] = "memring doctor\n";
  step(file.fd() >= 0, "create a file") && step(write(file.fd(), kText, sizeof kText) == sizeof kText, "write") &&
      step(fsync(file.fd()) == 0, "fsync") && step(file.rename(), "rename") &&
      step(sync_directory(directory), "fsync of the directory");
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace memring
