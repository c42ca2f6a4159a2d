// The run directory: what belongs to one run, and the check that a run is continued only by the configuration that
// began it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "io/checkpoint.h"

namespace memring {

std::string checkpoint_directory(const std::string& run);
std::string config_file(const std::string& run);
std::string metrics_file(const std::string& run);
/// Says how far the run has come, whatever becomes of its checkpoints: their folder may be a link, or be purged.
std::string progress_file(const std::string& run);

void make_run_directory(const std::string& run);  ///< throws Error(Io)
/// Checks that the configuration there, if any, has the same identity (throws Error(Usage) with the keys that differ)
/// and writes config.ini. Returns whether there was one. For rank 0, under the run's lock.
bool claim_run_directory(const Config&);

/// A checkpoint of this state has been committed, and is the newest. Durable.
void write_progress(const std::string& run, const TrainState&);
/// Throws Error(Data) where progress_file says that a checkpoint was committed: for a run that finds none.
void require_no_progress(const std::string& run);
/// The step that progress_file names; -1 where there is none, or no number in it.
int64_t step_reached(const std::string& run);

/// Lines of `now` and `then` (texts of key=value lines) that differ: "key: then -> now".
std::vector<std::string> differing_lines(const std::string& then, const std::string& now);

}  // namespace memring
