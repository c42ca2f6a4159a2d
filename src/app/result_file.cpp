// SPDX-License-Identifier: Apache-2.0
#include "app/result_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "io/file.h"

namespace memring {

void expect_writable(const std::string& path) {
  if (path.empty()) return;
  std::error_code unknown;
  const bool folder = std::filesystem::is_directory(path, unknown), exists = std::filesystem::exists(path, unknown);
  const std::string asked = exists ? path : folder_of(path);
  if (!folder && ::access(asked.c_str(), W_OK) == 0) return;
  const int reason = folder ? EISDIR : errno;
  throw Error(ExitCode::Io, fmt::format("cannot write {}: {}", path, std::strerror(reason)),
              "Choose another --json file, in a folder that exists.");
}

void write_result(const std::string& path, const std::string& json) {
  if (path.empty()) return;
  std::ofstream file(path, std::ios::trunc);
  file << json;
  if (!file.flush())
    throw Error(ExitCode::Io, fmt::format("{} cannot be written", path), "Choose another --json file.");
}

}  // namespace memring
