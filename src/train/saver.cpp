// SPDX-License-Identifier: Apache-2.0
#include "train/saver.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/version.h"
#include "kernels/norm/norm.h"
#include "train/run_directory.h"

namespace memring {

Saver::Saver(const Config& config, const Dataset& dataset, Session& session, Mesh& mesh, Engine& engine,
             Optimizer& optimizer, Range shard)
    : dataset_(dataset),
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
  // A key that the program which saved did not know yet had its default.
  if (const auto other = differing_lines(config_identity({}) + found->info.identity, info_.identity); !other.empty())
    throw Error(
        ExitCode::Usage,
        fmt::format("{} was trained with other data or settings:\n    {}", found->path, fmt::join(other, "\n    ")),
        "Choose another run.dir, or give the data and the settings of that run.");
  last_saved_ = found->step;
  resumed.state = data_.state;
  resumed.path = found->path;
  const auto differs = [&](const char* what, const auto& then, const auto& now) {
    if (then != now)
      resumed.differences.push_back(fmt::format("{}: {} then, {} now: the bits will differ", what, then, now));
  };
  differs("mesh", found->info.mesh, info_.mesh);
  differs("threads", found->info.threads, info_.threads);
  differs("instruction set", found->info.isa, info_.isa);
  differs("data type", found->info.dtype, info_.dtype);
  differs("version", found->info.version, info_.version);
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
