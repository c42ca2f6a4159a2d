// What pack reads: the files that its inputs stand for, in a reproducible order, and what among them is no text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memring {

struct PackSources {
  std::vector<std::string> paths;     ///< "-" is standard input
  std::vector<std::string> skipped;   ///< entries of folders that are no documents, with the reason
  std::vector<std::string> repeated;  ///< "B is the same file as A"
  int64_t total = 0;                  ///< bytes; -1: not known (standard input, pipes)
};

/// Throws as pack() does.
PackSources find_sources(std::span<const std::string> inputs, const std::string& out);

/// Throws Error(Data) when a document that begins like this is HDF5 or compressed.
void expect_text(const std::string& path, std::string_view beginning);

/// Throws Error(Io): pack takes everything it is given or nothing.
[[noreturn]] void cannot_read(const std::string& path, const std::string& why);

}  // namespace memring
