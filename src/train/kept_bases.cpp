// SPDX-License-Identifier: Apache-2.0
#include "train/kept_bases.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/machine.h"
#include "base/text.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "io/file.h"
#include "train/run_directory.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 2> kFiles = {kStateFile, kManifestFile};  // the manifest last, as a save has it

/// Where links lead, so that the file itself gets a second name.
fs::path file_in(const std::string& checkpoint, const char* name) { return fs::canonical(fs::path(checkpoint) / name); }

bool link_files(const std::string& from, const std::string& to) {
  std::error_code refused;
  for (const char* name : kFiles)
    if (!refused) fs::create_hard_link(file_in(from, name), fs::path(to) / name, refused);
  return !refused;
}

void copy_file(const std::string& from, const std::string& to, Progress* progress) {
  const File source = File::open_read(from);
  File copy = File::create(to);
  std::vector<std::byte> block(static_cast<size_t>(kBlockBytes));
  const int64_t size = source.size();
  for (int64_t at = 0; at < size; at += kBlockBytes, advance(progress)) {
    const std::span<std::byte> part(block.data(), static_cast<size_t>(std::min(kBlockBytes, size - at)));
    source.read_at(at, part);
    copy.write_at(at, part);
  }
  copy.sync();
  copy.close();
}

void copy_files(const CheckpointSummary& base, const std::string& to, Progress* progress) {
  require_space(to, base.bytes);
  for (const char* name : kFiles) {
    const std::string path = fmt::format("{}/{}", to, name);
    remove_quietly(path);  // the link that was made before the next was refused
    copy_file(fmt::format("{}/{}", base.path, name), path, progress);
  }
  const auto faults = verify_checkpoint(to, progress);
  if (!faults.empty()) throw Error(ExitCode::Io, fmt::format("the copy {} is damaged: {}", to, faults.front()));
}

bool in_a_run(const std::string& checkpoint) {
  const fs::path folder = fs::canonical(checkpoint).parent_path();
  return exists_at(config_file(folder.parent_path()));
}

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw Error(ExitCode::Io, fmt::format("cannot create folder {}: {}", path, error.message()));
}

/// In `temporary`, still without its name. Returns what was done; empty: nothing need be.
std::string keep_in(const std::string& temporary, const CheckpointSummary& base, Progress* progress) {
  make_folder(temporary);
  const bool linked = link_files(base.path, temporary);
  if (!linked && !in_a_run(base.path)) return {};
  if (!linked) copy_files(base, temporary, progress);
  if (read_manifest(temporary).digest != base.digest)
    throw Error(ExitCode::Data, fmt::format("{} is another checkpoint now", base.path));
  sync_folder(temporary);
  return linked ? "hard links, which take no space" : fmt::format("a copy of {} bytes", grouped(base.bytes));
}

}  // namespace

std::string kept_base(const std::string& directory, const std::string& digest) {
  return fmt::format("{}/{}{}", directory, kBasePrefix, digest);
}

std::string keep_base(const CheckpointSummary& base, const std::string& directory, Progress* progress) {
  const std::string kept = kept_base(directory, base.digest);
  const std::string temporary = temporary_of(kept);
  const bool same = std::all_of(kFiles.begin(), kFiles.end(), [&](const char* name) {
    std::error_code unknown;
    return fs::equivalent(fs::path(kept) / name, fs::path(base.path) / name, unknown);
  });
  if (same) return {};
  try {
    const std::string how = keep_in(temporary, base, progress);
    if (!how.empty())
      if (const std::string replaced = publish(temporary, kept); !replaced.empty()) remove_quietly(replaced);
    remove_quietly(temporary);
    return how.empty() ? fmt::format("{} is of no run, and links to it are refused: it must stay there", base.path)
                       : fmt::format("{} kept as {} ({})", base.path, kept, how);
  } catch (const std::exception& error) {
    remove_quietly(temporary);
    if (!checkpoint_exists(base.path))
      throw Error(ExitCode::Data, fmt::format("{} was removed while this run started on it", base.path),
                  "Start again: the run that it is of has newer ones.");
    throw;
  }
}

void forget_bases_but(const std::vector<CheckpointSummary>& needed, const std::string& directory) {
  std::error_code unknown;  // what cannot be looked at stays
  for (fs::directory_iterator entry(directory, unknown); !unknown && entry != fs::directory_iterator();
       entry.increment(unknown))
    if (entry->path().filename().string().starts_with("step-"))
      return;  // set aside ones, too, are nothing without theirs
  if (unknown) return;
  for (const std::string& path : base_directories(directory))
    if (std::none_of(needed.begin(), needed.end(),
                     [&](const CheckpointSummary& base) { return kept_base(directory, base.digest) == path; }))
      remove_quietly(path);
}

}  // namespace memring
