// CheckedBlocks: a range of a file under digests, checked when it is first read, and again when the file has changed
// since: a text that is rewritten while a run reads it must not be trained on under the old name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "io/file.h"

namespace memring {

/// Bytes [offset, offset + bytes) of a file, in blocks of `block` bytes (the last is shorter) with an XXH3-64 each. The
/// file is followed by its descriptor: another file under its name changes nothing. Thread-safe.
class CheckedBlocks {
 public:
  CheckedBlocks(const File& file, int64_t offset, int64_t bytes, int64_t block, std::vector<uint64_t> digests);

  const std::vector<uint64_t>& digests() const { return digests_; }
  /// Throws Error(Data) unless every block that bytes [begin, end) touch has its digest.
  void expect_intact(const File&, int64_t begin, int64_t end);
  /// Throws Error(Data) when a block that was read is no longer what it was. Costs nothing where the system has seen no
  /// change; else all of them are read again, with a call of `progress` for each.
  void expect_unchanged(const File&, const std::function<void()>& progress);
  /// Reads everything; what differs, in words.
  std::vector<std::string> faults(const File&) const;

 private:
  /// What the system says of a file's last change. The times of some file systems stand still for up to two seconds.
  struct Stamp {
    int64_t bytes = 0;
    timespec written{}, changed{};
    bool operator==(const Stamp&) const;
  };
  static Stamp stamp_of(const File&);
  std::string fault_of(const File&, int64_t block) const;
  void expect_block(const File&, int64_t block);
  void forget_if_changed(const File&);

  int64_t offset_, bytes_, block_;
  std::vector<uint64_t> digests_;
  std::mutex mutex_;
  Stamp stamp_;
  bool settled_ = false;    // a change from here on shows in the stamp
  bool rewritten_ = false;  // the stamp is not the first one
  std::vector<bool> intact_, read_;
};

}  // namespace memring
