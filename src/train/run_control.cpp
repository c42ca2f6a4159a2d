// SPDX-License-Identifier: Apache-2.0
#include "train/run_control.h"

#include <cmath>

#include "base/error.h"
#include "base/machine.h"
#include "train/optimizer.h"
#include "train/soundness.h"
#include "train/start_report.h"

namespace memring {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of which (1 - share) text + share divergence is the loss (CrossEntropy::distil); none where there is no share of it.
std::optional<double> divergence(const ReducedStep& reduced, double share) {
  if (share == 0) return std::nullopt;
  return (reduced.loss() - (1 - share) * reduced.text_loss()) / share;
}

/// Weights whose step is skipped are not saved: they may be dead, and would push out good ones.
bool usable(const ReducedStep& reduced) { return reduced.finite && reduced.sums.targets > 0; }

}  // namespace

RunControl::RunControl(const Config& config, Session& session, StartedRun& started, SignalWatch& signals)
    : config_(config),
      chance_(std::log(config.model.vocab)),
      session_(session),
      curriculum_(started.curriculum),
      log_(started.log),
      saver_(*started.saver),
      state_(started.resumed.state),
      first_step_(state_.step),
      seconds_before_(state_.seconds),
      saves_(config.checkpoint),
      stop_(config.run, curriculum_, signals),
      reason_(stop_.decide(state_)) {}

PlannedStep RunControl::next() {
  step_start_ = Clock::now();
  session_.progress().step = state_.step + 1;
  return {state_.step,
          curriculum_.shape(state_),
          {next_rate(config_.optimizer, config_.run, curriculum_, state_), state_.step - state_.skipped + 1}};
}

void RunControl::ask(StepSums& local) {
  const bool rank0 = session_.rank() == 0;
  stop_.ask(local, rank0);
  saves_.ask(local, rank0);
}

std::optional<Update> RunControl::decide(const PlannedStep& step, const ReducedStep& reduced) {
  judge(state_, reduced, chance_);
  if (!state_.sound && step.number == first_step_) saver_.doubt_resumed(log_);
  if (!usable(reduced)) return {};
  state_.skipped_in_row = 0;
  if (saves_.take_due()) {
    const auto start = Clock::now();
    session_.progress().enter(Phase::Save);
    saver_.try_save(state_, log_);
    step_start_ += Clock::now() - start;  // which is no part of the step
  }
  return step.update;
}

void RunControl::follow(const PlannedStep& step, const ReducedStep& reduced) {
  if (!usable(reduced)) {
    ++state_.skipped;
    log_.skipped(state_.step + 1, reduced.norm, ++state_.skipped_in_row);
  }
  if (step.number == first_step_ && usable(reduced) && reduced.norm == 0)
    warn_about_unreached(config_, step.shape, log_);
  ++state_.step;
  state_.tokens += static_cast<int64_t>(reduced.sums.tokens);
  state_.seconds = seconds_before_ + seconds_since(start_);
  if (const auto stage_loss = curriculum_.advance(state_, step.shape, reduced))
    log_.stage(state_.step, stage(), curriculum_.stage(state_), *stage_loss);

  log_.step(record(step, reduced));
  saver_.tell(seconds_since(step_start_), log_);
  if (state_.skipped_in_row > config_.run.max_skipped) give_up();
  note_stop(stop_.decide(state_, reduced));
  saves_.plan(state_.step, reduced.sums);
}

ExitCode RunControl::finish() {
  session_.progress().enter(Phase::Save);
  if (state_.skipped_in_row > 0) give_up();
  saver_.save_and_wait(state_, log_);

  const ExitCode code = finished(reason_) ? ExitCode::Done : ExitCode::Again;
  if (const std::string unfinished = curriculum_.unfinished(state_); !unfinished.empty() && code == ExitCode::Done)
    log_.warning(unfinished +
                 ". It goes on with a larger run.steps; a recipe may need another learning rate or other stages.");
  log_.end(describe(reason_), state_.step, state_.tokens, state_.seconds, static_cast<int>(code), stage());
  if (code == ExitCode::Again) log_.note("           start the same command again to go on");
  return code;
}

bool RunControl::ends(StopReason reason) const {
  return reason != StopReason::None && (state_.skipped_in_row == 0 || finished(reason));
}

void RunControl::note_stop(StopReason now) {
  if (now == StopReason::None) return;
  if (reason_ == StopReason::None && !ends(now))
    log_.note(fmt::format("stop       {}: waits for a step that is not skipped", describe(now)));
  reason_ = now;
}

StageRecord RunControl::stage() const {
  return {curriculum_.number(state_) + 1, std::ssize(curriculum_.stages()), curriculum_.learned(state_)};
}

StepRecord RunControl::record(const PlannedStep& step, const ReducedStep& reduced) const {
  // A line of the terminal is about the largest rank.
  const bool of_all_ranks = state_.step % config_.log.every == 0 || state_.step == 1;
  const ObjectiveConfig& objective = config_.objective;
  const bool taught = objective.kind == ObjectiveKind::Distil;
  return {.step = state_.step,
          .steps = config_.run.steps,
          .tokens_wanted = config_.run.tokens,
          .loss = reduced.loss(),
          .lr = step.update.lr,
          .norm = reduced.norm,
          .text_loss = taught ? std::optional(reduced.text_loss()) : std::nullopt,
          .divergence = taught ? divergence(reduced, objective.kl) : std::nullopt,
          .tokens = state_.tokens,
          .step_tokens = static_cast<int64_t>(reduced.sums.tokens),
          .segments = step.shape.segments(),
          .step_seconds = seconds_since(step_start_),
          .memory_bytes = of_all_ranks ? session_.world().all_reduce_max(peak_memory()) : peak_memory(),
          .diagnostics = reduced.sums.diagnostics,
          .skipped = state_.skipped};
}

void RunControl::give_up() {
  saver_.settle(log_);
  throw Error(
      ExitCode::Numeric,
      fmt::format("the gradient was not finite in {} steps in a row, up to step {}; nothing has been saved since",
                  state_.skipped_in_row, state_.step),
      saver_.way_back() + " Or look at the data of these steps.");
}

}  // namespace memring
