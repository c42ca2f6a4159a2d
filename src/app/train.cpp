// memring train: trains a configuration, or resumes it.
// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "app/command.h"
#include "app/same_start.h"
#include "app/with_session.h"
#include "dist/separate_start.h"
#include "train/run_directory.h"

namespace memring {
namespace {

struct Start {
  Config config;
  std::vector<std::pair<std::string, std::string>> told;  ///< lines of the log's start
};

/// A run's own config.ini stands for the run where it lies, and holds every key there is, with effect or without.
Start of_run(const std::string& run, const std::string& file, std::vector<std::string> overrides) {
  const std::string before = load_run_config(run).run.dir;
  std::error_code ignored;
  if (std::filesystem::equivalent(before, run, ignored)) return {load_training_config(file, overrides).config, {}};
  overrides.insert(overrides.begin(), "run.dir=" + run);  // the last one counts: the command line's own
  Start start{load_training_config(file, overrides).config, {}};
  if (start.config.run.dir == run)
    start.told.emplace_back("moved", fmt::format("this run is the folder of {}; it was {}", file, before));
  return start;
}

Start configuration(const std::string& file, const std::vector<std::string>& overrides) {
  if (const std::string run = run_directory_of(file); !run.empty()) return of_run(run, file, overrides);
  TrainingConfig training = load_training_config(file, overrides);
  Start start{std::move(training.config), {}};
  if (!training.unused.empty())
    start.told.emplace_back("unused", fmt::format("{} of {} (memring train --help says what they count with)",
                                                  fmt::join(training.unused, ", "), file));
  return start;
}

}  // namespace

int run_train(const CommandLine& line) {
  SignalWatch signals;  // before the session: MPI's threads must inherit its mask
  return with_session(line.argc, line.argv, [&](Session& session) {
    refuse_separate_start(session);
    const auto [config, told] = configuration(line.arguments[0], line.overrides);
    session.watch(config.run.timeout);
    require_same_start(session, config);
    return static_cast<int>(train(config, session, signals, told));
  });
}

}  // namespace memring
