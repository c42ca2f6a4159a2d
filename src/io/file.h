// Files by position: whole reads and writes, durable renames, errors that name path and reason.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/handle.h"

namespace memring {

/// An open regular file. Every function throws Error(Io) with path and reason unless it says otherwise; read_at and
/// write_at may be called by several threads at once.
class File {
 public:
  /// Throws Error(Data) when the file is missing or is a folder, a pipe or a device.
  static File open_read(const std::string& path);
  static File open_write(const std::string& path);  ///< existing, for reading and writing
  static File create(const std::string& path);      ///< new or emptied, for reading and writing

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_.get(); }
  int64_t size() const;  ///< bytes
  /// All of `bytes` from this position; Error(Data) when the file ends before that.
  void read_at(int64_t position, std::span<std::byte> bytes) const;
  void write_at(int64_t position, std::span<const std::byte> bytes) const;
  void sync() const;  ///< fsync
  /// Lets the disk begin with a range that was written, without waiting. Durable it is after sync() only.
  void start_write_back(int64_t position, int64_t bytes) const;
  /// Waits until that has ended, and gives back the memory in which the system keeps the range.
  void end_write_back(int64_t position, int64_t bytes) const;
  /// Closes and reports what the system says about it (NFS reports a failed write here).
  void close();

 private:
  File(std::string path, int flags);
  void write_back(int64_t position, int64_t bytes, unsigned flags) const;
  std::string path_;
  Handle<DescriptorTraits> descriptor_;
};

/// What there is at `path`, links followed. Throws Error(Io) where the system does not say, as in a closed folder.
bool exists_at(const std::string& path);
bool folder_at(const std::string& path);
/// The folder that holds `path` ("." when it names none).
std::string folder_of(const std::string& path);
/// Makes the entries of a folder durable.
void sync_folder(const std::string& folder);
/// A new file with this text, or another text in an existing one, on the disk when this returns.
void write_text_file(const std::string& path, const std::string& text);
std::string read_text_file(const std::string& path);
/// rename() and fsync of the target's folder: after it returns, `to` survives a crash.
void rename_durably(const std::string& from, const std::string& to);

}  // namespace memring
