// SPDX-License-Identifier: Apache-2.0
#include "base/system_numbers.h"

#include <fstream>
#include <sstream>

namespace memring {

std::optional<int64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> number_behind(const std::filesystem::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    int64_t value = 0;
    if (std::istringstream(line.substr(key.size())) >> value) return value;
  }
  return std::nullopt;
}

std::optional<int64_t> kib_behind(const std::filesystem::path& path, const std::string& key) {
  const std::optional<int64_t> kib = number_behind(path, key);
  return kib ? std::optional(*kib * 1024) : std::nullopt;
}

}  // namespace memring
