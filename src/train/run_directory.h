// The run directory: what belongs to one run, and the check that a run is continued only by the configuration that
// began it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checkpoint/run_lock.h"
#include "config/config.h"
#include "dist/session.h"
#include "train/stop.h"
#include "train/train_state.h"

namespace memring {

std::string checkpoint_directory(const std::string& run);
std::string config_file(const std::string& run);
std::string metrics_file(const std::string& run);
/// Says how far the run has come, whatever becomes of its checkpoints: their folder may be a link, or be purged.
std::string progress_file(const std::string& run);

void make_run_directory(const std::string& run);  ///< throws Error(Io)
/// Makes the run directory and locks it, on rank 0, while the others wait. Where a process holds it of which this host
/// cannot see that it lives, waits for up to run.wait, says so, and throws Error(Again) in the end. Throws Error(Usage)
/// at once where it is in use on this host. Collective.
void lock_run_directory(std::optional<RunLock>&, Session&, const SignalWatch&, const RunConfig&);
/// Checks that the configuration there, if any, has the same identity (throws Error(Usage) with the keys that differ);
/// where there is none, keeps this one. Returns whether there was one. For rank 0, under the run's lock.
bool claim_run_directory(const Config&);
/// The run goes on with this configuration: config.ini holds it. Not before nothing can refuse the start any more. For
/// rank 0, under the run's lock.
void keep_configuration(const Config&);

/// A checkpoint of this state has been committed, and is the newest. Durable.
void write_progress(const std::string& run, const TrainState&);
/// Throws Error(Data) where progress_file says that a checkpoint was committed: for whoever finds none.
void require_no_progress(const std::string& run);
/// The step that progress_file names; -1 where there is none, or no number in it.
int64_t step_reached(const std::string& run);

/// The line of a checkpoint's identity that names the content of its data, the last one; and that of an identity, empty
/// where it has none.
std::string data_line(const std::string& digest);
std::string data_line_in(const std::string& identity);
/// The run directory whose own config.ini `file` is, wherever it has been moved or copied to; empty where it is none.
std::string run_directory_of(const std::string& file);

/// The configuration in a run's directory. Throws Error(Usage) naming the keys that this program does not know.
Config load_run_config(const std::string& run, const std::vector<std::string>& overrides = {});
/// Throws Error(Usage) where `config`, the text that a run has left in `place`, sets keys that this program does not
/// know: to go on without them would be another run.
void refuse_newer_run(const std::string& config, const std::string& place);

/// Lines of `now` and `then` (texts of key=value lines) that differ: "key: then -> now".
std::vector<std::string> differing_lines(const std::string& then, const std::string& now);

}  // namespace memring
