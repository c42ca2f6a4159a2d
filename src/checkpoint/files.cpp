// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/machine.h"
#include "checkpoint/manifest.h"
#include "io/file.h"

namespace memring {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPrefix = "step-";
constexpr const char* kTemporary = ".tmp-";
constexpr const char* kAside = ".aside";
constexpr const char* kDoubted = "/not-sound";

std::vector<std::string> entries_of(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entry(directory, error);
  if (error == std::errc::no_such_file_or_directory) {
    if (fs::is_symlink(fs::symlink_status(directory, error)))
      throw Error(ExitCode::Data,
                  fmt::format("{} is a link to {}, which does not exist", directory,
                              fs::read_symlink(directory, error).string()),
                  "Check that the file system that it leads to is mounted; remove the link to start anew.");
    return names;
  }
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) names.push_back(entry->path().filename());
  if (error)
    throw Error(error == std::errc::not_a_directory ? ExitCode::Data : ExitCode::Io,
                fmt::format("cannot read folder {}: {}", directory, error.message()),
                "Check that it is a folder and its permissions.");
  return names;
}

}  // namespace

std::string checkpoint_name(int64_t step) { return fmt::format("{}{:09d}", kPrefix, step); }

std::optional<int64_t> step_of_name(const std::string& name) {
  const size_t prefix = std::strlen(kPrefix);
  int64_t step = -1;
  if (name.compare(0, prefix, kPrefix) != 0) return std::nullopt;
  std::from_chars(name.data() + prefix, name.data() + name.size(), step);
  if (step < 0 || checkpoint_name(step) != name) return std::nullopt;
  return step;
}

std::string temporary_of(const std::string& path) {
  return fmt::format("{}{}{}-{}", path, kTemporary, ::getpid(), host_name());
}

std::string temporary_name(int64_t step) { return temporary_of(checkpoint_name(step)); }

bool is_temporary_name(const std::string& name) {
  const size_t mark = name.find(kTemporary);
  return mark != std::string::npos && (step_of_name(name.substr(0, mark)) || name.starts_with(kBasePrefix));
}

bool is_base_name(const std::string& name) { return name.starts_with(kBasePrefix) && !is_temporary_name(name); }

std::vector<std::pair<int64_t, std::string>> checkpoint_directories(const std::string& directory) {
  std::vector<std::pair<int64_t, std::string>> found;
  for (const std::string& name : entries_of(directory)) {
    const std::optional<int64_t> step = step_of_name(name);
    if (!step) continue;
    const std::string path = directory + "/" + name;
    std::error_code error;
    const bool folder = fs::is_directory(path, error);
    if (error && error != std::errc::no_such_file_or_directory)
      throw Error(ExitCode::Io, fmt::format("cannot look at {}: {}", path, error.message()),
                  "Check the disk and the permissions of that folder.");
    if (folder) found.emplace_back(*step, path);
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::vector<std::string> base_directories(const std::string& directory) {
  std::vector<std::string> found;
  for (const std::string& name : entries_of(directory))
    if (is_base_name(name)) found.push_back(directory + "/" + name);
  std::sort(found.begin(), found.end());
  return found;
}

bool checkpoint_exists(const std::string& path) {
  std::error_code error;
  return fs::status(path, error).type() != fs::file_type::not_found;
}

FolderId folder_id(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("cannot look up folder {}: {}", path, std::strerror(reason)),
                "Check that the folder is still there.");
  }
  return {status.st_dev, status.st_ino};
}

void remove_temporaries(const std::string& directory) {
  for (const std::string& name : entries_of(directory))
    if (is_temporary_name(name)) remove_quietly(directory + "/" + name);
}

void remove_quietly(const std::string& path) noexcept {
  std::error_code error;
  fs::remove_all(path, error);
}

void require_space(const std::string& directory, int64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < static_cast<rlim_t>(bytes))
    throw Error(ExitCode::Io,
                fmt::format("a checkpoint needs a file of {} bytes in {}; this process may write at most {}", bytes,
                            directory, limit.rlim_cur),
                "Raise the limit on the size of files (ulimit -f).");
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) != 0) {
    const int reason = errno;
    throw Error(ExitCode::Io, fmt::format("cannot ask for the free space of {}: {}", directory, std::strerror(reason)),
                "Check that the folder is still there.");
  }
  const auto free = static_cast<int64_t>(
      std::min<uint64_t>(uint64_t{status.f_bavail}, uint64_t{INT64_MAX} / status.f_frsize) * status.f_frsize);
  if (free < bytes)
    throw Error(ExitCode::Io,
                fmt::format("a checkpoint needs {} bytes in {}, where {} are free: {} are missing", bytes, directory,
                            free, bytes - free),
                "Free space there. Earlier checkpoints are untouched.");
}

std::string publish(const std::string& temporary, const std::string& final_path) {
  std::error_code ignored;
  if (!fs::is_directory(final_path, ignored)) {
    rename_durably(temporary, final_path);
    return {};
  }
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    sync_folder(folder_of(final_path));
    return temporary;
  }
  const int reason = errno;
  if (reason != EINVAL && reason != ENOSYS)
    throw Error(ExitCode::Io, fmt::format("cannot rename {} to {}: {}", temporary, final_path, std::strerror(reason)));
  std::string replaced = temporary + "-replaced";
  rename_durably(final_path, replaced);
  try {
    rename_durably(temporary, final_path);
  } catch (const Error&) {
    (void)std::rename(replaced.c_str(), final_path.c_str());  // fails, rightly, where the new one is in place
    throw;
  }
  return replaced;
}

void remove_folder(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error)
    throw Error(ExitCode::Io, fmt::format("cannot remove {}: {}", path, error.message()),
                "Remove it by hand, or check the permissions of its folder.");
}

void doubt_checkpoint(const std::string& path) {
  write_text_file(path + kDoubted, "the first step that went on from here found its loss or gradient not sound\n");
}

bool is_doubted(const std::string& path) {
  std::error_code unknown;
  return fs::exists(path + kDoubted, unknown);
}

void prune(const std::string& directory, int64_t keep, int64_t doubted, std::map<int64_t, bool>& verified,
           Progress* progress) {
  int64_t good = 0;
  bool sound = false;  // one that stays
  for (const CheckpointSummary& checkpoint : list_checkpoints(directory)) {
    const bool counts_as_sound = checkpoint.sound && checkpoint.step != doubted;
    if (good >= keep && (sound || !counts_as_sound)) {
      // Renamed first: a removal that is cut short leaves no half of a checkpoint under a checkpoint's name.
      const std::string aside = directory + "/" + temporary_name(checkpoint.step);
      rename_durably(checkpoint.path, aside);
      remove_folder(aside);
      verified.erase(checkpoint.step);
      continue;
    }
    auto known = verified.find(checkpoint.step);
    if (known == verified.end())
      known = verified.emplace(checkpoint.step, verify_checkpoint(checkpoint.path, progress).empty()).first;
    std::error_code error;
    if (known->second &&
        fs::file_size(checkpoint.path + "/" + kStateFile, error) == static_cast<uintmax_t>(checkpoint.bytes)) {
      ++good;
      sound = sound || counts_as_sound;
    }
  }
}

std::vector<std::string> set_aside_after(const std::string& directory, int64_t step) {
  std::vector<std::string> paths;
  for (const auto& [later, path] : checkpoint_directories(directory)) {
    if (later <= step) break;
    std::string aside = path + kAside;
    std::error_code unknown;
    for (int number = 2; fs::exists(fs::symlink_status(aside, unknown)); ++number)
      aside = fmt::format("{}{}-{}", path, kAside, number);
    rename_durably(path, aside);
    paths.push_back(std::move(aside));
  }
  return paths;
}

}  // namespace memring
