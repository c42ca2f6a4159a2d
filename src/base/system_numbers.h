// Numbers in the files by which the system tells of itself: /proc and control groups.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace memring {

/// The number that a file holds; none where it says "max" or cannot be read.
std::optional<int64_t> number_in(const std::filesystem::path&);

/// The number behind `key` in a file of "key number" lines.
std::optional<int64_t> number_behind(const std::filesystem::path&, const std::string& key);

/// The same of "key: 123 kB" lines, in bytes.
std::optional<int64_t> kib_behind(const std::filesystem::path&, const std::string& key);

}  // namespace memring
