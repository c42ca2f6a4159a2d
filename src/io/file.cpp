// SPDX-License-Identifier: Apache-2.0
#include "io/file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace memring {
namespace fs = std::filesystem;
namespace {

/// Linux moves at most this much per call.
constexpr size_t kMost = size_t{1} << 30;

/// `action` is no std::string, so that nothing happens between a call that failed and the reading of its errno.
[[noreturn]] void fail(std::string_view action, const std::string& path, int error) {
  const char* hint = "The system refused this; check the disk, its limits and the path.";
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) hint = "Free space there, or choose another place.";
  if (error == EACCES || error == EPERM || error == EROFS) hint = "Check the permissions of the file and its folder.";
  if (error == ENOENT || error == ENOTDIR) hint = "Create the folder first (mkdir -p), or check the path.";
  throw Error(ExitCode::Io, fmt::format("cannot {} {}: {}", action, path, std::strerror(error)), hint);
}

fs::file_status status_of(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::none) fail("look up", path, error.value());
  return status;
}

/// open() that goes on after a signal.
int open_descriptor(const std::string& path, int flags) {
  int descriptor;
  do descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

/// fsync() that goes on after a signal, which interrupts it on network file systems.
int sync_descriptor(int descriptor) {
  int result;
  do result = ::fsync(descriptor);
  while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

File::File(std::string path, int flags) : path_(std::move(path)), descriptor_(open_descriptor(path_, flags)) {}

File File::open_read(const std::string& path) {
  File file(path, O_RDONLY | O_NONBLOCK);  // a pipe in place of a file is found here, not waited for
  if (!file.descriptor_) {
    const int reason = errno;
    if (reason == ENOENT || reason == ENOTDIR)
      throw Error(ExitCode::Data, fmt::format("{} does not exist", path), "Check the path.");
    if (reason == ELOOP)
      throw Error(ExitCode::Data, fmt::format("cannot read {}: {}", path, std::strerror(reason)), "Check the path.");
    fail("read", path, reason);
  }
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) fail("read", path, errno);
  if (S_ISDIR(status.st_mode))
    throw Error(ExitCode::Data, fmt::format("{} is a folder; a file was expected", path), "Give a file inside it.");
  if (!S_ISREG(status.st_mode))
    throw Error(ExitCode::Data, fmt::format("{} is a pipe or a device; a regular file was expected", path),
                "Copy what it gives into a file.");
  return file;
}

File File::open_write(const std::string& path) {
  File file(path, O_RDWR);
  if (!file.descriptor_) fail("write", path, errno);
  return file;
}

File File::create(const std::string& path) {
  File file(path, O_RDWR | O_CREAT | O_TRUNC);
  if (!file.descriptor_) fail("create", path, errno);
  return file;
}

int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor(), &status) != 0) fail("read", path_, errno);
  return status.st_size;
}

void File::read_at(int64_t position, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t done = ::pread(descriptor(), bytes.data(), std::min(bytes.size(), kMost), position);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("read", path_, errno);
    if (done == 0)
      throw Error(ExitCode::Data,
                  fmt::format("{} ends at byte {}; {} more bytes were expected", path_, size(), bytes.size()),
                  "The file is damaged or still being written: make or copy it again.");
    position += done;
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void File::write_at(int64_t position, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t done = ::pwrite(descriptor(), bytes.data(), std::min(bytes.size(), kMost), position);
    const int reason = errno;
    if (done < 0 && reason == EINTR) continue;
    if (done < 0) fail(fmt::format("write {} bytes at {} of", bytes.size(), position), path_, reason);
    position += done;
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
}

void File::sync() const {
  if (sync_descriptor(descriptor()) != 0) fail("make durable (fsync)", path_, errno);
}

void File::write_back(int64_t position, int64_t bytes, unsigned flags) const {
  if (::sync_file_range(descriptor(), position, bytes, flags) == 0) return;
  // Not every system offers it, and sync() does without. An error of the disk is told once: here or there.
  const int reason = errno;
  if (reason != ENOSYS && reason != EINVAL && reason != ESPIPE && reason != EPERM)
    fail(fmt::format("write {} bytes at {} of", bytes, position), path_, reason);
}

void File::start_write_back(int64_t position, int64_t bytes) const {
  write_back(position, bytes, SYNC_FILE_RANGE_WRITE);
}

void File::end_write_back(int64_t position, int64_t bytes) const {
  write_back(position, bytes, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  (void)::posix_fadvise(descriptor(), position, bytes, POSIX_FADV_DONTNEED);
}

void File::close() {
  // Whatever close() returns, the descriptor is gone on Linux.
  if (descriptor_ && ::close(descriptor_.release()) != 0 && errno != EINTR) fail("close", path_, errno);
}

bool exists_at(const std::string& path) { return fs::exists(status_of(path)); }
bool folder_at(const std::string& path) { return fs::is_directory(status_of(path)); }

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

void sync_folder(const std::string& folder) {
  const Handle<DescriptorTraits> descriptor(open_descriptor(folder, O_RDONLY | O_DIRECTORY));
  if (!descriptor) fail("open folder", folder, errno);
  // Some file systems have nothing to do here and say so with EINVAL.
  if (sync_descriptor(descriptor.get()) != 0 && errno != EINVAL) fail("make durable (fsync) folder", folder, errno);
}

void write_text_file(const std::string& path, const std::string& text) {
  File file = File::create(path);
  file.write_at(0, std::as_bytes(std::span<const char>(text.data(), text.size())));
  file.sync();
  file.close();
}

std::string read_text_file(const std::string& path) {
  const File file = File::open_read(path);
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span<char>(text.data(), text.size())));
  return text;
}

void rename_durably(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    const int reason = errno;
    fail(fmt::format("rename {} to", from), to, reason);
  }
  sync_folder(folder_of(to));
}

}  // namespace memring
