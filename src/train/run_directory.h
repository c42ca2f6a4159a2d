// The run directory: what belongs to one run, and the check that a run is continued only by the configuration that
// began it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace memring {

std::string checkpoint_directory(const std::string& run);
std::string config_file(const std::string& run);
std::string metrics_file(const std::string& run);

void make_run_directory(const std::string& run);  ///< throws Error(Io)
/// Checks that the configuration there, if any, has the same identity (throws Error(Usage) with the keys that differ)
/// and writes config.ini. For rank 0, under the run's lock.
void claim_run_directory(const Config&);

/// The line of a checkpoint's identity that names the content of its data.
std::string data_line(const std::string& digest);
/// Lines of `now` and `then` (texts of key=value lines) that differ: "key: then -> now".
std::vector<std::string> differing_lines(const std::string& then, const std::string& now);

}  // namespace memring
