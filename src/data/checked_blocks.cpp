// SPDX-License-Identifier: Apache-2.0
#include "data/checked_blocks.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/text.h"
#include "io/digest.h"

namespace memring {
namespace {

constexpr time_t kCoarsest = 2;  // seconds: FAT's

bool same(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

}  // namespace

bool CheckedBlocks::Stamp::operator==(const Stamp& other) const {
  return bytes == other.bytes && same(written, other.written) && same(changed, other.changed);
}

CheckedBlocks::CheckedBlocks(const File& file, int64_t offset, int64_t bytes, int64_t block,
                             std::vector<uint64_t> digests)
    : offset_(offset),
      bytes_(bytes),
      block_(block),
      digests_(std::move(digests)),
      stamp_(stamp_of(file)),
      intact_(digests_.size()),
      read_(digests_.size()) {}

// The time of the last change counts beside that of the last write, which programs set back (cp -p, rsync -t).
CheckedBlocks::Stamp CheckedBlocks::stamp_of(const File& file) {
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0)
    throw Error(ExitCode::Io, fmt::format("cannot look at {}: {}", file.path(), std::strerror(errno)),
                "Check the file system that it lies on.");
  return {status.st_size, status.st_mtim, status.st_ctim};
}

std::string CheckedBlocks::fault_of(const File& file, int64_t i) const {
  std::array<std::byte, 1 << 16> bytes;
  Digest digest;
  const int64_t begin = i * block_, end = std::min(begin + block_, bytes_);
  for (int64_t position = begin; position < end;) {
    const auto piece = std::span(bytes).first(std::min(bytes.size(), static_cast<size_t>(end - position)));
    file.read_at(offset_ + position, piece);
    digest.add(piece);
    position += static_cast<int64_t>(piece.size());
  }
  const uint64_t expected = digests_[static_cast<size_t>(i)];
  if (digest.value() == expected) return {};
  return fmt::format("/tokens, bytes {} to {}: digest {}, expected {}", grouped(begin), grouped(end), digest.text(),
                     digest_text(expected));
}

void CheckedBlocks::expect_block(const File& file, int64_t i) {
  const auto block = static_cast<size_t>(i);
  if (intact_[block]) return;
  const bool in_use = rewritten_ || read_[block];
  std::string fault;
  try {
    fault = fault_of(file, i);
  } catch (const Error& error) {
    if (!in_use || error.code() != ExitCode::Data) throw;
    fault = error.what();  // it has become shorter
  }
  if (!fault.empty() && in_use)
    throw Error(
        ExitCode::Data, fmt::format("token file {} was rewritten while it was in use: {}", file.path(), fault),
        "Nothing was saved since. Put the old file back to go on from the last checkpoint, or give the new text "
        "another name (data.path) and another run.dir.");
  if (!fault.empty())
    throw Error(
        ExitCode::Data, fmt::format("token file {} is damaged: {}", file.path(), fault),
        fmt::format("Copy it again or pack the text again; memring inspect {} lists all that is wrong.", file.path()));
  intact_[block] = read_[block] = true;
}

// A file that changed just before it was looked at may change again within the same tick of its clock, so it is taken
// for changed once more when that is over.
void CheckedBlocks::forget_if_changed(const File& file) {
  const Stamp now = stamp_of(file);
  const bool changed = !(now == stamp_);
  if (!changed && settled_) return;
  timespec clock{};
  ::clock_gettime(CLOCK_REALTIME, &clock);
  const time_t age = clock.tv_sec - now.changed.tv_sec;
  const bool settles = age > kCoarsest || age < 0;  // or it comes from a host whose clock is ahead
  if (changed || settles) intact_.assign(intact_.size(), false);
  rewritten_ = rewritten_ || changed;
  settled_ = settles;
  stamp_ = now;
}

void CheckedBlocks::expect_intact(const File& file, int64_t begin, int64_t end) {
  const std::lock_guard lock(mutex_);
  forget_if_changed(file);
  for (int64_t i = begin / block_; i * block_ < end; ++i) expect_block(file, i);
}

void CheckedBlocks::expect_unchanged(const File& file, const std::function<void()>& progress) {
  const std::lock_guard lock(mutex_);
  forget_if_changed(file);
  for (size_t i = 0; i < read_.size(); ++i) {
    if (!read_[i] || intact_[i]) continue;
    expect_block(file, static_cast<int64_t>(i));
    progress();
  }
}

std::vector<std::string> CheckedBlocks::faults(const File& file) const {
  std::vector<std::string> found;
  for (size_t i = 0; i < digests_.size(); ++i)
    if (std::string fault = fault_of(file, static_cast<int64_t>(i)); !fault.empty()) found.push_back(std::move(fault));
  return found;
}

}  // namespace memring
