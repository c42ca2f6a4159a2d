// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "base/machine.h"
#include "checkpoint/agreement.h"
#include "data/dataset.h"
#include "runlog/runlog.h"
#include "train/curriculum.h"
#include "train/optimizer.h"
#include "train/run_directory.h"
#include "train/saver.h"
#include "train/shared_folder.h"
#include "train/soundness.h"
#include "train/start_report.h"
#include "train/stop.h"
#include "train/training_run.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Saves besides the one at the end: by steps on every rank alike, by the clock of rank 0, which asks in the reduction.
/// Only the step behind a save's own shows whether its weights are sound, so the save waits for it.
class LaterSaves {
 public:
  explicit LaterSaves(const CheckpointConfig& config) : config_(config) {}
  void ask(StepSums& sums, bool rank0) const {
    if (rank0 && config_.every_minutes > 0 && seconds_since(last_) >= 60 * config_.every_minutes) sums.save = true;
  }
  void plan(int64_t step, const StepSums& reduced) {
    if (!reduced.save && (config_.every == 0 || step % config_.every != 0)) return;
    due_ = true;
    last_ = Clock::now();
  }
  /// Saves what is due, and returns how long that took, which is no part of the step.
  Clock::duration make(const TrainState& state, Saver& saver, Progress& progress, RunLog& log) {
    if (!std::exchange(due_, false)) return {};
    const auto start = Clock::now();
    progress.enter(Phase::Save);
    saver.try_save(state, log);
    return Clock::now() - start;
  }

 private:
  CheckpointConfig config_;
  Clock::time_point last_ = Clock::now();
  bool due_ = false;
};

/// Weights whose step is skipped are not saved: they may be dead, and would push out good ones.
bool usable(const ReducedStep& reduced) { return reduced.finite && reduced.sums.targets > 0; }

/// A stop that is asked for among skipped steps waits for the first that is not, or for the end of patience with them.
bool may_end(StopReason reason, const TrainState& state) {
  return reason != StopReason::None && (state.skipped_in_row == 0 || finished(reason));
}

[[noreturn]] void give_up(const TrainState& state, Saver& saver, RunLog& log) {
  saver.settle(log);
  throw Error(
      ExitCode::Numeric,
      fmt::format("the gradient was not finite in {} steps in a row, up to step {}; nothing has been saved since",
                  state.skipped_in_row, state.step),
      saver.way_back() + " Or look at the data of these steps.");
}

void tell_where_it_goes_on(const Resumed& resumed, bool began_before, RunLog& log) {
  for (const auto& warning : resumed.warnings) log.warning(warning);
  if (!resumed.path.empty())
    log.resumed(resumed.state.step, resumed.path, resumed.differences);
  else if (began_before)
    log.note("anew       from the beginning: an earlier start left no checkpoint");
  for (const auto& path : resumed.aside) log.note(fmt::format("           set aside as {}", path));
  if (!log.set_aside().empty())
    log.note(fmt::format("           records of an earlier start are kept in {}", log.set_aside()));
}

StageRecord stage_record(const Curriculum& curriculum, const TrainState& state) {
  return {curriculum.number(state) + 1, std::ssize(curriculum.stages()), curriculum.learned(state)};
}

/// Of the step that led to `state`. Collective where a line of the log follows, which is about the largest rank.
StepRecord step_record(const Config& config, Communicator& world, const TrainState& state, const ReducedStep& reduced,
                       const SequenceShape& shape, double lr, double seconds) {
  const bool of_all_ranks = state.step % config.log.every == 0 || state.step == 1;
  return {.step = state.step,
          .steps = config.run.steps,
          .tokens_wanted = config.run.tokens,
          .loss = reduced.loss(),
          .lr = lr,
          .norm = reduced.norm,
          .tokens = state.tokens,
          .step_tokens = static_cast<int64_t>(reduced.sums.tokens),
          .segments = shape.segments(),
          .step_seconds = seconds,
          .memory_bytes = of_all_ranks ? world.all_reduce_max(peak_memory()) : peak_memory(),
          .diagnostics = reduced.sums.diagnostics,
          .skipped = state.skipped};
}

void tell_end(StopReason reason, ExitCode code, const TrainState& state, const Curriculum& curriculum, RunLog& log) {
  if (const std::string unfinished = curriculum.unfinished(state); !unfinished.empty() && code == ExitCode::Done)
    log.warning(unfinished +
                ". It goes on with a larger run.steps; a recipe may need another learning rate or other stages.");
  log.end(describe(reason), state.step, state.tokens, state.seconds, static_cast<int>(code),
          stage_record(curriculum, state));
  if (code == ExitCode::Again) log.note("           start the same command again to go on");
}

}  // namespace

ExitCode train(const Config& config, Session& session, SignalWatch& signals,
               const std::vector<std::pair<std::string, std::string>>& told) {
  const bool rank0 = session.rank() == 0;
  Progress& progress = session.progress();
  const std::unique_ptr<Dataset> dataset = open_dataset(config);
  require_same_tokens(session.world(), config.data.path, dataset->digest());
  const Curriculum curriculum(config, dataset->fewest_segments());
  TrainingRun run(config, session.world(), session.node(), curriculum.stages(), TrainingRun::Saves::Planned);
  Engine& engine = run.engine();

  std::optional<RunLock> lock;  // not before data and plan have proved usable
  lock_run_directory(lock, session, signals, config.run);
  require_shared_folder(session, signals, config.run.dir, config.run.wait);
  const bool began_before = rank0 && claim_run_directory(config);
  session.world().barrier();  // nobody reads the directory before it is ours
  RunLog log(
      {.speaks = rank0, .jsonl = config.log.jsonl ? metrics_file(config.run.dir) : "", .every = config.log.every});
  StartFacts facts = start_facts(config, session, run.mesh(), engine, *dataset, curriculum);
  facts.lines.insert(facts.lines.end(), told.begin(), told.end());
  log.start(std::move(facts));

  run.allocate();  // not before the start lines: who is killed for memory has said what it was about
  Saver saver(config, *dataset, session, run.mesh(), engine, run.optimizer(), run.shard());
  progress.enter(Phase::Load);
  const Resumed resumed = saver.resume();
  TrainState state = resumed.state;
  log.open(state.step);
  if (config.log.schedule) print_schedule(engine.executor(), session.rank());
  warn_about_threads(session.node(), engine.numerics().threads, log);
  warn_about_mixed_hosts(session.world(), engine, log);
  warn_about_idle_ranks(engine, run.mesh().shape(), log);
  warn_about_repeats(config, *dataset, log);
  tell_where_it_goes_on(resumed, began_before, log);

  LaterSaves saves(config.checkpoint);
  StopConditions stop(config.run, curriculum, signals);
  engine.executor().set_cell_observer([&](int64_t done, int64_t total) { log.progress(state.step + 1, done, total); });

  const double chance = std::log(config.model.vocab), seconds_before = state.seconds;
  const auto start = Clock::now();
  StopReason reason = stop.decide(state);
  while (!may_end(reason, state)) {
    auto step_start = Clock::now();
    progress.step = state.step + 1;
    const SequenceShape shape = curriculum.shape(state);
    const auto batch = dataset->at(state.step, shape);
    const double lr = next_rate(config, curriculum, state);
    const auto ask = [&](StepSums& local) {
      stop.ask(local, rank0);
      saves.ask(local, rank0);
    };
    const auto decide = [&](const ReducedStep& reduced) -> std::optional<Update> {
      judge(state, reduced, chance);
      if (!state.sound && state.step == resumed.state.step) saver.doubt_resumed(log);
      if (!usable(reduced)) return {};
      state.skipped_in_row = 0;
      step_start += saves.make(state, saver, progress, log);
      return Update{lr, state.step - state.skipped + 1};
    };
    const ReducedStep reduced = run.step(*batch, state.step, ask, decide);
    if (!usable(reduced)) {
      ++state.skipped;
      log.skipped(state.step + 1, reduced.norm, ++state.skipped_in_row);
    }
    ++state.step;
    state.tokens += static_cast<int64_t>(reduced.sums.tokens);
    state.seconds = seconds_before + seconds_since(start);
    if (const auto stage_loss = curriculum.advance(state, shape, reduced))
      log.stage(state.step, stage_record(curriculum, state), curriculum.stage(state), *stage_loss);

    log.step(step_record(config, session.world(), state, reduced, shape, lr, seconds_since(step_start)));
    saver.tell(seconds_since(step_start), log);
    if (state.skipped_in_row > config.run.max_skipped) give_up(state, saver, log);
    if (const StopReason now = stop.decide(state, reduced); now != StopReason::None) {
      if (reason == StopReason::None && !may_end(now, state))
        log.note(fmt::format("stop       {}: waits for a step that is not skipped", describe(now)));
      reason = now;
    }
    saves.plan(state.step, reduced.sums);
  }
  progress.enter(Phase::Save);
  if (state.skipped_in_row > 0) give_up(state, saver, log);
  saver.save_and_wait(state, log);

  const ExitCode code = finished(reason) ? ExitCode::Done : ExitCode::Again;
  tell_end(reason, code, state, curriculum, log);
  return code;
}

}  // namespace memring
