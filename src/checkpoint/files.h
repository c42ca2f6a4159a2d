// A directory of checkpoints as files: names, unfinished saves, free space, publishing, retention. No ranks here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dist/progress.h"

namespace memring {

std::string checkpoint_name(int64_t step);                     ///< "step-000000123"
std::optional<int64_t> step_of_name(const std::string& name);  ///< of exactly such a name
std::string temporary_name(int64_t step);                      ///< "step-000000123.tmp-<pid>-<host>"
std::string temporary_of(const std::string& path);             ///< the same of another name in that directory
bool is_temporary_name(const std::string& name);
constexpr const char* kBasePrefix = "base-";  ///< of what a run keeps besides (train/kept_bases.h)
bool is_base_name(const std::string& name);

/// (step, path) of every directory with a checkpoint's name, newest first, whatever is in it. Error(Io) when the
/// directory is there and cannot be read, Error(Data) when it is a link to nothing.
std::vector<std::pair<int64_t, std::string>> checkpoint_directories(const std::string& directory);

/// What a run keeps besides for its own, whole: the bases of adapters.
std::vector<std::string> base_directories(const std::string& directory);

/// False when the folder is not there: a run that goes on prunes its checkpoints while others read them.
bool checkpoint_exists(const std::string& path);

/// Which folder a path names now (device and inode): another one may come in its place. Throws Error(Io).
using FolderId = std::pair<uint64_t, uint64_t>;
FolderId folder_id(const std::string& path);

/// What saves that never ended and removals that failed left behind. Best effort: what cannot be removed (on NFS, a
/// file that another process reads) is in nobody's way. Only for the holder of the run's lock, while no save is in
/// flight.
void remove_temporaries(const std::string& directory);
/// Best effort, for cleaning up behind an error.
void remove_quietly(const std::string& path) noexcept;

/// Throws Error(Io) naming the bytes needed, free and missing unless a file of this size fits on the directory's file
/// system and the process may write one.
void require_space(const std::string& directory, int64_t bytes);

/// Renames a finished temporary directory to its final name, durably. A directory of that name is replaced in one step
/// where the file system can exchange two names; returns where it now waits to be removed (empty: there was none).
std::string publish(const std::string& temporary, const std::string& final_path);

/// Throws Error(Io) when it cannot be done.
void remove_folder(const std::string& path);

/// Marks a checkpoint that calls itself sound and has proved not to be: for whoever comes later, it is not.
void doubt_checkpoint(const std::string& path);
bool is_doubted(const std::string& path);

/// Removes what is older than the `keep` newest verified checkpoints, but never the newest verified one that is sound;
/// the one of step `doubted` does not count as sound. `verified` remembers by step what was found intact or damaged
/// before; others are read and checked now, whereby `progress` (may be null) advances. Without `keep` verified ones
/// nothing is removed.
void prune(const std::string& directory, int64_t keep, int64_t doubted, std::map<int64_t, bool>& verified,
           Progress* progress = nullptr);

/// Renames every checkpoint of a later step to "step-000000123.aside" (a number follows where there is one already),
/// under which it is never loaded nor removed. Returns the new paths.
std::vector<std::string> set_aside_after(const std::string& directory, int64_t step);

}  // namespace memring
