// Packing: files, folders and standard input become one token file, one document each, in a reproducible order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace memring {

struct PackProgress {
  int64_t documents = 0;  ///< begun
  int64_t bytes = 0;      ///< of input read
  int64_t total = -1;     ///< bytes of all input; -1: not known (standard input)
};

struct PackResult {
  int64_t documents = 0, tokens = 0, bytes = 0;
  std::string digest;                ///< TokenFile::digest
  bool replaced = false;             ///< a file of that name existed
  std::vector<std::string> skipped;  ///< entries of folders that are no documents, with the reason
  /// "B is the same file as A": packed all the same, once for each.
  std::vector<std::string> repeated;
};

/// Packs `inputs` in their order: a file is a document; a folder stands for all files below it, sorted by path
/// bytewise; "-" is standard input. In folders, links to files are followed; links to folders, devices and the like,
/// HDF5 and compressed files, folders of version control and editors' backups are skipped and listed, and so is `out`
/// itself. Memory does not grow with the size of the input. `progress` is called after each piece that was read. Throws
/// Error(Usage): an input given twice that can be read only once, or that is `out`; Error(Data): missing or empty
/// input, or one that would be skipped in a folder; Error(Io): unreadable input, `out` not writable.
PackResult pack(std::span<const std::string> inputs, const std::string& out, const std::string& tokenizer,
                const std::function<void(const PackProgress&)>& progress);

}  // namespace memring
