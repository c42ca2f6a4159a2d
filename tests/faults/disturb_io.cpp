// For LD_PRELOAD: a slow or failing disk. Of calls to pread and pwrite on files whose path holds DISTURB_PATH, those
// named by DISTURB_CALL ("pread" or "pwrite") take DISTURB_MS milliseconds longer, and from number DISTURB_FAIL_AT on
// (counted from 1; 0: never) they fail with EIO.
// SPDX-License-Identifier: Apache-2.0
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool about_path(int descriptor) {
  static const std::string wanted = setting("DISTURB_PATH");
  char link[32], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path);
  return !wanted.empty() && length > 0 &&
         std::string(path, static_cast<size_t>(length)).find(wanted) != std::string::npos;
}

bool fails(const char* call, int descriptor) {
  static const std::string wanted = setting("DISTURB_CALL");
  static const long milliseconds = std::atol(setting("DISTURB_MS").c_str()),
                    fail_at = std::atol(setting("DISTURB_FAIL_AT").c_str());
  static std::atomic<long> seen{0};
  const int before = errno;
  const bool counts = wanted == call && about_path(descriptor);
  if (counts && milliseconds > 0) usleep(static_cast<useconds_t>(1000 * milliseconds));
  errno = before;
  if (!counts || fail_at == 0 || ++seen < fail_at) return false;
  errno = EIO;
  return true;
}

ssize_t write_at(int descriptor, const void* bytes, size_t size, off_t position) {
  return fails("pwrite", descriptor) ? -1 : syscall(SYS_pwrite64, descriptor, bytes, size, position);
}
ssize_t read_at(int descriptor, void* bytes, size_t size, off_t position) {
  return fails("pread", descriptor) ? -1 : syscall(SYS_pread64, descriptor, bytes, size, position);
}

}  // namespace

extern "C" {

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t position) {
  return write_at(descriptor, bytes, size, position);
}
ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t position) {
  return write_at(descriptor, bytes, size, position);
}
ssize_t pread(int descriptor, void* bytes, size_t size, off_t position) {
  return read_at(descriptor, bytes, size, position);
}
ssize_t pread64(int descriptor, void* bytes, size_t size, off64_t position) {
  return read_at(descriptor, bytes, size, position);
}

}  // extern "C"
