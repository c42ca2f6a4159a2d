// The file that --json names: checked before the work, which may take hours, and written after it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace memring {

/// Both do nothing for an empty path, and throw Error(Io) when the file cannot be written.
void expect_writable(const std::string& path);
void write_result(const std::string& path, const std::string& json);

}  // namespace memring
