// For LD_PRELOAD: makes a chosen call to the system fail or last, or kills the process in it. A call counts when it
// changes or opens something whose path holds FAIL_PATH; without FAIL_AT the calls are only listed.
//
//   FAIL_PATH=/checkpoints  part of the path that a call is about
//   FAIL_CALL=fsync         only these calls (by default all of them but pread)
//   FAIL_DELAY_MS=100       each call that counts takes so much longer
//   FAIL_AT=17              the first call that fails, of those that count in this process; FAIL_MANY=1 so many
//   FAIL_WITH=28            an errno; "short": half of a write, then ENOSPC; "kill": SIGKILL, in the midst of a write
//   FAIL_RANK=1             only in this rank
//   FAIL_TRACE=file         "rank call path" for each that counts, "!" before the line of one that fails
// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

std::string setting(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

struct Plan {
  std::string path = setting("FAIL_PATH"), call = setting("FAIL_CALL"), with = setting("FAIL_WITH"),
              trace = setting("FAIL_TRACE"), rank = setting("OMPI_COMM_WORLD_RANK", "0");
  long at = std::atol(setting("FAIL_AT", "0").c_str()), many = std::atol(setting("FAIL_MANY", "1").c_str()),
       delay_ms = std::atol(setting("FAIL_DELAY_MS", "0").c_str());
  bool mine = !path.empty() && setting("FAIL_RANK", rank.c_str()) == rank;
  std::atomic<long> seen{0};
};

Plan& plan() {
  static Plan the_plan;
  return the_plan;
}

/// Written by the system call itself: the functions below must not see it.
void note(bool fails, const std::string& call, const std::string& path) {
  if (plan().trace.empty()) return;
  const std::string line = (fails ? "!" : "") + plan().rank + " " + call + " " + path + "\n";
  const long file =
      syscall(SYS_openat, AT_FDCWD, plan().trace.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  (void)!syscall(SYS_write, file, line.data(), line.size());
  syscall(SYS_close, file);
}

enum Verdict : int { kPass = 0, kShort = -1, kKill = -2 };  // above zero: an errno

int judge(const std::string& call, const std::string& path) {
  if (!plan().mine || path.find(plan().path) == std::string::npos) return kPass;
  if (plan().call.empty() ? call == "pread" : plan().call != call) return kPass;
  if (plan().delay_ms > 0) usleep(static_cast<useconds_t>(1000 * plan().delay_ms));
  const long number = ++plan().seen;
  // The rest of a short write finds the disk full.
  const long last = plan().at + plan().many - (plan().with == "short" ? 0 : 1);
  const bool fails = plan().at > 0 && number >= plan().at && number <= last;
  note(fails, call, path);
  if (!fails) return kPass;
  if (plan().with == "kill") return kKill;
  if (plan().with == "short") return number == plan().at ? kShort : ENOSPC;
  return std::atoi(plan().with.c_str());
}

std::string path_of(int descriptor) {
  char link[32], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path);
  return {path, length > 0 ? static_cast<size_t>(length) : 0};
}

std::string path_at(int folder, const char* name) {
  return name[0] == '/' || folder == AT_FDCWD ? name : path_of(folder) + "/" + name;
}

/// The function of this name that would have been called.
template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

/// What stands in for the call: whether it is made at all, and if so, `real` makes it.
template <class Real>
auto unless_failing(const char* call, const std::string& path, Real real) -> decltype(real()) {
  const int before = errno;
  const int verdict = judge(call, path);
  errno = before;
  if (verdict == kPass) return real();
  if (verdict == kKill) raise(SIGKILL);
  errno = verdict;
  return -1;
}

ssize_t write_part(const char* call, int descriptor, const void* bytes, size_t size, off_t position) {
  const int before = errno;
  const int verdict = judge(call, path_of(descriptor));
  errno = before;
  if (verdict > 0) return errno = verdict, -1;
  if (verdict != kPass) size = (size + 1) / 2;
  const ssize_t done = position < 0 ? syscall(SYS_write, descriptor, bytes, size)
                                    : syscall(SYS_pwrite64, descriptor, bytes, size, position);
  if (verdict == kKill) raise(SIGKILL);
  return done;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t size) {
  return write_part("write", descriptor, bytes, size, -1);
}
ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t position) {
  return write_part("pwrite", descriptor, bytes, size, position);
}
ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t position) {
  return write_part("pwrite", descriptor, bytes, size, position);
}
ssize_t pread(int descriptor, void* bytes, size_t size, off_t position) {
  return unless_failing("pread", path_of(descriptor),
                        [&] { return syscall(SYS_pread64, descriptor, bytes, size, position); });
}
ssize_t pread64(int descriptor, void* bytes, size_t size, off64_t position) {
  return pread(descriptor, bytes, size, position);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return unless_failing("open", path, [&] { return next<decltype(&open)>("open")(path, flags, mode); });
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return unless_failing("open", path, [&] { return next<decltype(&open64)>("open64")(path, flags, mode); });
}
int close(int descriptor) {
  // Closed all the same, as Linux does it.
  const std::string path = path_of(descriptor);
  const int result = next<decltype(&close)>("close")(descriptor);
  return unless_failing("close", path, [&] { return result; });
}
int fsync(int descriptor) {
  return unless_failing("fsync", path_of(descriptor), [&] { return next<decltype(&fsync)>("fsync")(descriptor); });
}
int ftruncate(int descriptor, off_t size) noexcept {
  return unless_failing("ftruncate", path_of(descriptor),
                        [&] { return next<decltype(&ftruncate)>("ftruncate")(descriptor, size); });
}
int mkdir(const char* path, mode_t mode) noexcept {
  return unless_failing("mkdir", path, [&] { return next<decltype(&mkdir)>("mkdir")(path, mode); });
}
int rename(const char* from, const char* to) noexcept {
  return unless_failing("rename", to, [&] { return next<decltype(&rename)>("rename")(from, to); });
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  return unless_failing("renameat2", path_at(to_folder, to), [&] {
    return next<decltype(&renameat2)>("renameat2")(from_folder, from, to_folder, to, flags);
  });
}
int remove(const char* path) noexcept {
  return unless_failing("remove", path, [&] { return next<decltype(&remove)>("remove")(path); });
}
int unlinkat(int folder, const char* name, int flags) noexcept {
  return unless_failing("unlinkat", path_at(folder, name),
                        [&] { return next<decltype(&unlinkat)>("unlinkat")(folder, name, flags); });
}

}  // extern "C"
