// The home folder behind a leading `~`: a shell puts it in place of the word `~/x`, but not of `--run.dir=~/x` nor of a
// line in a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace memring {

/// `~` and `~/x` with the user's home in place of the `~`; any other path, and every path where no home is known, as it
/// is.
std::string expand_home(const std::string& path);

}  // namespace memring
