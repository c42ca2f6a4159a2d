// SPDX-License-Identifier: Apache-2.0
#include "train/saver.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/version.h"
#include "kernels/norm/norm.h"
#include "train/run_directory.h"

namespace memring {
namespace {

/// Of an identity: "data.digest=...".
std::string data_in(const std::string& identity) {
  const size_t at = identity.rfind("data.digest=");
  return at == std::string::npos ? "data.digest=(not there)" : identity.substr(at, identity.find('\n', at) - at);
}

/// What the bits depend on.
std::vector<std::string> differences(const CheckpointInfo& then, const CheckpointInfo& now) {
  std::vector<std::string> lines;
  const auto differs = [&](const char* what, const auto& before, const auto& after) {
    if (before != after) lines.push_back(fmt::format("{}: {} then, {} now: the bits will differ", what, before, after));
  };
  differs("mesh", then.mesh, now.mesh);
  differs("threads", then.threads, now.threads);
  differs("instruction set", then.isa, now.isa);
  differs("data type", then.dtype, now.dtype);
  differs("version", then.version, now.version);
  return lines;
}

/// Keys with another value, but those whose effect `differences` has told, and what they do to the learning rate.
std::vector<std::string> changed_settings(const Config& then, const Config& now, const CheckpointInfo& saved,
                                          const CheckpointInfo& info, const TrainState& state) {
  const auto told = [&](const std::string& key) {
    return (key.starts_with("mesh.") && saved.mesh != info.mesh) ||
           (key == "device.threads" && saved.threads != info.threads) || (key == "device.isa" && saved.isa != info.isa);
  };
  const auto shown = [](const std::string& value) { return value.empty() ? "(empty)" : value; };
  std::vector<std::string> lines;
  for (const auto& [key, before, after] : changed_keys(then, now))
    if (!told(key)) lines.push_back(fmt::format("{}: {} then, {} now", key, shown(before), shown(after)));
  const double before = learning_rate(then.optimizer, then.run, state.step, state.tokens),
               after = learning_rate(now.optimizer, now.run, state.step, state.tokens);
  if (before != after)
    lines.push_back(fmt::format("learning rate of step {}: {:.3g} as it was set then, {:.3g} now{}", state.step + 1,
                                before, after,
                                before > 0 ? fmt::format(", {:.3g} times as much", after / before) : ""));
  return lines;
}

}  // namespace

Saver::Saver(const Config& config, const Dataset& dataset, Session& session, Mesh& mesh, Engine& engine,
             Optimizer& optimizer, Range shard)
    : config_(config),
      dataset_(dataset),
      data_{.layout = engine.params().layout(),
            .shard = shard,
            .weights = engine.params().weights(),
            .m = optimizer.m(),
            .v = optimizer.v(),
            .state = {},
            .progress = &session.progress()},
      info_{.config = render_config(config),
            .identity = config_identity(config) + data_line(dataset.digest()),
            .mesh = describe(mesh.shape()),
            .isa = name_of(engine.queue().isa()),
            .dtype = engine.numerics().name,
            .version = build(),
            .threads = engine.queue().threads(),
            .ranks = session.size()},
      world_(session.world()),
      queue_(engine.queue()),
      directory_(checkpoint_directory(config.run.dir)),
      keep_(config.checkpoint.keep) {}

Resumed Saver::resume() {
  Resumed resumed;
  const auto found = load_newest(world_, directory_, data_, resumed.warnings);
  if (!found) return resumed;
  const CheckpointInfo& saved = found->info;
  refuse_newer_run(saved.config, found->path);
  const Config then = parse_config(saved.config, found->path);
  std::vector<std::string> other;
  for (const auto& [key, before, now] : changed_identity(then, config_))
    other.push_back(fmt::format("{}: {} -> {}", key, before, now));
  if (const std::string before = data_in(saved.identity), now = data_in(info_.identity); before != now)
    other.push_back(fmt::format("{} -> {}", before, now));
  if (!other.empty())
    throw Error(
        ExitCode::Usage,
        fmt::format("{} was trained with other data or settings:\n    {}", found->path, fmt::join(other, "\n    ")),
        "Choose another run.dir, or give the data and the settings of that run.");
  last_saved_ = found->step;
  resumed.state = data_.state;
  resumed.path = found->path;
  resumed.differences = differences(saved, info_);
  for (std::string& line : changed_settings(then, config_, saved, info_, resumed.state))
    resumed.differences.push_back(std::move(line));
  return resumed;
}

/// Throws Error(Io), the same on every rank, when this save cannot start.
void Saver::save(const TrainState& state, RunLog& log) {
  if (state.step == last_saved_) return;
  // Under the digest that the checkpoint names, nothing else may have been trained on.
  dataset_.expect_unchanged([&] { advance(data_.progress); });
  const double square = SquaredNorm::of(queue_, data_.weights.rows(data_.shard.begin, data_.shard.size()));
  if (world_.all_reduce_max(std::isfinite(square) ? 0 : 1) > 0)
    throw Error(ExitCode::Numeric,
                fmt::format("the weights of step {} are not finite, so they are not saved", state.step),
                "Start again with a lower optimizer.lr or optimizer.clip: it resumes from the last checkpoint, or from "
                "the beginning where there is none.");
  if (!writer_) writer_ = std::make_unique<CheckpointWriter>(world_, directory_, keep_, data_);
  data_.state = state;
  const double held = writer_->save(data_, info_);
  last_saved_ = state.step;
  log.saved(state.step, directory_, held);
}

void Saver::try_save(const TrainState& state, RunLog& log) {
  settle(log);
  tolerate([&] { save(state, log); }, log);
}

void Saver::save_and_wait(const TrainState& state, RunLog& log) {
  settle(log);
  save(state, log);
  if (writer_) writer_->finish();
}

void Saver::say_lead(double step_seconds, RunLog& log) {
  if (lead_said_ || !writer_ || writer_->last_committed() < 0) return;
  lead_said_ = true;
  const double save_seconds = writer_->last_seconds();
  constexpr double kSchedulerSlack = 60;  // Slurm may send its signal that much off the time asked for
  log.note(
      fmt::format("signal     a step takes {:.2f} s, a save {:.2f} s: #SBATCH --signal=USR1@{:.0f} is early enough",
                  step_seconds, save_seconds, std::ceil(2 * step_seconds + save_seconds + kSchedulerSlack)));
}

/// Waits for the save in flight. That it failed must not cost the next one too.
void Saver::settle(RunLog& log) {
  if (writer_) tolerate([&] { writer_->finish(); }, log);
}

void Saver::tolerate(const std::function<void()>& write, RunLog& log) {
  try {
    write();
  } catch (const Error& error) {
    if (error.code() != ExitCode::Io) throw;
    last_saved_ = -1;
    log.warning(fmt::format("{}. {} The checkpoints before it are intact.", error.what(), error.hint()));
  }
}

}  // namespace memring
