// SPDX-License-Identifier: Apache-2.0
#include "train/started_run.h"

#include "base/error.h"
#include "checkpoint/agreement.h"
#include "config/shapes.h"
#include "train/run_directory.h"
#include "train/shared_folder.h"
#include "train/start_report.h"
#include "train/weights_source.h"

namespace memring {
namespace {

std::unique_ptr<Dataset> open_same_dataset(const Config& config, Communicator& world) {
  std::unique_ptr<Dataset> dataset = open_training_dataset(config);
  require_same_tokens(world, config.data.path, dataset->digest());
  return dataset;
}

/// The run directory becomes this run's, on all hosts. Returns whether the run began in it before; on rank 0.
bool take_directory(const Config& config, Session& session, const SignalWatch& signals, std::optional<RunLock>& lock) {
  lock_run_directory(lock, session, signals, config.run);
  require_shared_folder(session, signals, config.run.dir, config.run.wait);
  const bool began_before = session.rank() == 0 && claim_run_directory(config);
  session.world().barrier();  // nobody reads the directory before it is ours
  return began_before;
}

void warn_about_waste(const Config& config, Session& session, TrainingRun& run, const Dataset& dataset, RunLog& log) {
  warn_about_threads(session.node(), run.engine().numerics().threads, log);
  warn_about_mixed_hosts(session.world(), run.engine(), log);
  warn_about_idle_ranks(run.engine(), run.mesh().shape(), log);
  warn_about_repeats(config.data, dataset, log);
}

void tell_where_it_goes_on(const Resumed& resumed, bool began_before, RunLog& log) {
  for (const auto& warning : resumed.warnings) log.warning(warning);
  if (!resumed.path.empty())
    log.resumed(resumed.state.step, resumed.path, resumed.differences);
  else if (began_before)
    log.note("anew       from the beginning: an earlier start left no checkpoint");
  for (size_t i = 0; i < resumed.weights.size(); ++i)
    log.note(fmt::format("{:<11}{}", i == 0 ? "weights" : "", resumed.weights[i]));
  for (const auto& base : resumed.bases) log.note("base       " + base);
  for (const auto& path : resumed.aside) log.note(fmt::format("           set aside as {}", path));
  if (!log.set_aside().empty())
    log.note(fmt::format("           records of an earlier start are kept in {}", log.set_aside()));
}

}  // namespace

StartedRun::StartedRun(const Config& config, Session& session, const SignalWatch& signals,
                       const std::vector<std::pair<std::string, std::string>>& told)
    : dataset(open_same_dataset(config, session.world())),
      curriculum(stages_of(config), config.curriculum, config.run.seed, dataset->fewest_segments()),
      run(config, session.world(), session.node(), curriculum.stages(), TrainingRun::Saves::Planned),
      log({.speaks = session.rank() == 0,
           .jsonl = config.log.jsonl ? metrics_file(config.run.dir) : "",
           .every = config.log.every}) {
  require_weights(config, session.world(), run.engine().params());
  const bool began_before = take_directory(config, session, signals, lock);  // data and plan have proved usable
  StartFacts facts = start_facts(config, session, run.mesh(), run.engine(), *dataset, curriculum);
  facts.lines.insert(facts.lines.end(), told.begin(), told.end());
  log.start(std::move(facts));

  run.allocate();  // not before the start lines: who is killed for memory has said what it was about
  saver = std::make_unique<Saver>(config, *dataset, session, run.mesh(), run.engine(), run.optimizer(), run.shard());
  session.progress().enter(Phase::Load);
  resumed = saver->resume(config);
  if (session.rank() == 0 && began_before) keep_configuration(config);
  log.open(resumed.state.step);
  if (config.log.schedule) print_schedule(run.engine().executor(), session.rank());
  warn_about_waste(config, session, run, *dataset, log);
  tell_where_it_goes_on(resumed, began_before, log);
  run.engine().executor().set_cell_observer([&log = log, &progress = session.progress()](int64_t done, int64_t total) {
    log.progress(progress.step, done, total);
  });
}

}  // namespace memring
