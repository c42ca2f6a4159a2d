// Token files: packed text as HDF5, read by ranges. Datasets are contiguous: /tokens (uint8 for up to 256 ids, else
// uint16 or uint32), /documents (int64: first token of each document, and the end), /digests (uint64: XXH3-64 of each 4
// MiB of /tokens).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace memring {

/// Writes a token file piece by piece under a temporary name and gives it its name when finished: a crash leaves no
/// file that looks complete, and a signal that ends the process no temporary one. A link is followed, so that it stays
/// one. The same input gives the same bytes. Throws Error(Io) with path and reason.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& path, const std::string& tokenizer, int64_t vocab);
  ~TokenFileWriter();  ///< removes the temporary file unless finished
  void begin_document();
  void append(std::span<const int32_t> tokens);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Opens at once whatever the size, reads ranges. Throws Error(Data) when the file is missing, is no HDF5, is no token
/// file, is of a newer format, or is shorter than it says, and says what to do.
class TokenFile {
 public:
  explicit TokenFile(const std::string& path);
  ~TokenFile();
  TokenFile(TokenFile&&) noexcept;

  const std::string& path() const;
  int64_t tokens() const;
  int64_t documents() const;
  int64_t vocab() const;
  const std::string& tokenizer() const;
  /// 16 hexadecimal digits that name the content (tokens and document borders), from the digests the file holds.
  std::string digest() const;
  /// The digest of a block is checked when it is first read, and again when the file has changed since: Error(Data)
  /// when it is wrong. Thread-safe (pread).
  void read(int64_t begin, std::span<int32_t> tokens) const;
  /// First token of each document, and the end. Throws Error(Data) where they are damaged.
  std::vector<int64_t> document_borders() const;
  /// Throws Error(Data) when the file was rewritten in place and what was read is no longer what it holds. Reads it
  /// again only where the system has seen a change, with a call of `progress` for each 4 MiB.
  void expect_unchanged(const std::function<void()>& progress) const;
  /// Recomputes every digest; returns the byte ranges that differ, in words (empty: intact).
  std::vector<std::string> verify() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memring
