// SPDX-License-Identifier: Apache-2.0
#include "train/saver.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/as_error.h"
#include "base/version.h"
#include "checkpoint/agreement.h"
#include "config/shapes.h"
#include "train/kept_bases.h"
#include "train/run_directory.h"
#include "train/soundness.h"
#include "train/weights_source.h"

namespace memring {
namespace {

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
  constexpr int64_t kAnyLength = 1;  // of the shorter sequences, which are not drawn here
  const auto rate_by = [&](const Config& config) {
    const Curriculum curriculum(stages_of(config), config.curriculum, config.run.seed, kAnyLength);
    return next_rate(config.optimizer, config.run, curriculum, state);
  };
  const double before = rate_by(then), after = rate_by(now);
  if (before != after)
    lines.push_back(fmt::format("learning rate of step {}: {:.3g} as it was set then, {:.3g} now{}", state.step + 1,
                                before, after,
                                before > 0 ? fmt::format(", {:.3g} times as much", after / before) : ""));
  return lines;
}

/// On the host.
bool all_zero(const View<>& numbers) {
  const auto bytes = numbers.host_bytes();
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

Saver::Saver(const Config& config, const Dataset& dataset, Session& session, Mesh& mesh, Engine& engine,
             Optimizer& optimizer, Range shard)
    : clips_(config.optimizer.clip > 0),
      dataset_(dataset),
      params_(engine.params()),
      data_{.layout = params_.trained_layout(),
            .shard = shard,
            .weights = params_.trained_weights(),
            .m = optimizer.m(),
            .v = optimizer.v(),
            .state = {},
            .progress = &session.progress()},
      info_{.config = render_config(config),
            .identity = config_identity(config) + data_line(dataset.digest()),
            .mesh = describe(mesh.shape()),
            .isa = instruction_sets(engine.queue()),
            .dtype = std::string(word_of(engine.numerics().precision)),
            .version = build(),
            .threads = engine.queue().threads(),
            .ranks = session.size()},
      world_(session.world()),
      queue_(engine.queue()),
      run_(config.run.dir),
      directory_(checkpoint_directory(run_)),
      options_{.keep = config.checkpoint.keep,
               .committed = [run = run_](const NamedNumbers& state) { write_progress(run, train_state(state)); }} {
  if (world_.rank() == 0) folder_ = folder_id(run_);
}

Resumed Saver::resume(const Config& config) {
  const ResumeFrom& from = config.checkpoint.resume;
  Resumed resumed;
  // Where the run is on a device: for as long as it loads.
  const HostCopy weights(queue_, data_.weights), m(queue_, data_.m), v(queue_, data_.v);
  CheckpointData loaded = data_;
  loaded.weights = weights.view();
  loaded.m = m.view();
  loaded.v = v.view();
  const auto found = load_newest(world_, directory_, loaded, resumed.warnings, from);
  if (!found) {
    if (world_.rank() == 0) require_no_progress(run_);
    world_.barrier();
    if (!config.model.from.empty()) start_from_weights(config, resumed);
    return resumed;
  }
  const CheckpointInfo& saved = found->info;
  refuse_newer_run(saved.config, found->path);
  const Config then = parse_config(saved.config, found->path);
  std::vector<std::string> other;
  for (const auto& [key, before, now] : changed_identity(then, config))
    other.push_back(fmt::format("{}: {} -> {}", key, before, now));
  for (std::string& line : differing_lines(data_line_in(saved.identity), data_line(dataset_.digest())))
    other.push_back(std::move(line));
  std::string weights_line;
  on_rank_0(world_, [&] { weights_line = other_weights(saved.source, then.model.from, config.model.from); });
  broadcast_text(world_, weights_line);
  if (!weights_line.empty()) other.push_back(std::move(weights_line));
  if (!other.empty())
    throw Error(
        ExitCode::Usage,
        fmt::format("{} was trained with other data or settings:\n    {}", found->path, fmt::join(other, "\n    ")),
        "Choose another run.dir, or give the data and the settings of that run.");
  for (const HostCopy* copy : {&weights, &m, &v}) copy->store(queue_);
  if (params_.trained_layout().size < params_.layout().size) {
    const HostCopy all(queue_, params_.weights());
    all.fetch(queue_);
    const Bases bases = load_frozen(world_, *found, config.model, params_, all.view(), data_.progress);
    all.store(queue_);
    keep(bases, resumed);
  }
  last_saved_ = resumed_ = found->step;
  info_.source = saved.source;
  resumed.state = train_state(loaded.state);
  if (from.what == ResumeFrom::What::Newest) {
    if (world_.rank() == 0) warn_about(*found, resumed.warnings);
  } else {
    on_rank_0(world_, [&] {
      resumed.aside = set_aside_after(directory_, found->step);
      write_progress(run_, resumed.state);
    });
  }
  resumed.path = found->path;
  resumed.differences = differences(saved, info_);
  for (std::string& line : changed_settings(then, config, saved, info_, resumed.state))
    resumed.differences.push_back(std::move(line));
  if (world_.all_reduce_max(all_zero(m.view()) && all_zero(v.view()) ? 0 : 1) == 0 && found->step > 0)
    resumed.differences.push_back(
        "optimizer: its state in this checkpoint is zero, as memring convert writes it, so its moments begin anew here "
        "(model.from in another run.dir begins anew with step 0 and its warm-up)");
  return resumed;
}

void Saver::start_from_weights(const Config& config, Resumed& resumed) {
  const HostCopy all(queue_, params_.weights());
  all.fetch(queue_);  // what is not there stays as it was initialised
  Bases bases;
  const Matched matched =
      load_named(world_, config.model.from, params_.layout(), all.view(), resumed.warnings, bases, data_.progress);
  expect_frozen(matched.fresh, params_, config.model);
  all.store(queue_);
  if (params_.trained_layout().size < params_.layout().size) {
    bases.insert(bases.begin(), matched.source);
    keep(bases, resumed);
    on_rank_0(world_, [&] { forget_bases_but(bases, directory_); });  // of a start that saved nothing
  }
  const std::string& path = matched.source.path;
  info_.source = {path, matched.source.digest};
  resumed.weights = describe_weights(matched, config, dataset_.digest());
  if (std::string warning = doubtful_window(matched, config); !warning.empty())
    resumed.warnings.push_back(std::move(warning));
  if (!matched.source.sound)
    resumed.warnings.push_back(fmt::format("checkpoint {}, whose weights this run starts with, is not sound ({})", path,
                                           describe_loss(train_state(matched.source.state))));
}

/// What this run's checkpoints are nothing without. That it has not been possible may be mended before the next start.
void Saver::keep(const Bases& bases, Resumed& resumed) {
  on_rank_0(world_, [&] {
    for (const CheckpointSummary& base : bases) {
      try {
        if (std::string kept = keep_base(base, directory_, data_.progress); !kept.empty())
          resumed.bases.push_back(std::move(kept));
      } catch (const std::exception& caught) {
        const Error error = as_error(caught);
        if (error.code() != ExitCode::Io) throw error;
        resumed.warnings.push_back(fmt::format(
            "the base {} could not be kept in this run, whose checkpoints need it ({}): see that it stays where it is, "
            "or make that possible and start again",
            base.path, error.what()));
      }
    }
  });
}

/// What is odd about a newest checkpoint that is intact.
void Saver::warn_about(const CheckpointSummary& newest, std::vector<std::string>& warnings) const {
  const int64_t reached = step_reached(run_);
  if (reached > newest.step && warnings.empty())
    warnings.push_back(
        fmt::format("this run had come to step {} ({} says so), but the newest checkpoint in {} is of step {}", reached,
                    progress_file(run_), directory_, newest.step));
  if (!newest.sound)
    warnings.push_back(
        fmt::format("checkpoint {} is not sound ({}): --checkpoint.resume=sound goes back to the newest that is",
                    newest.path, describe_loss(train_state(newest.state))));
}

/// Nobody judged a last save before it was made. The mark is for later starts: they would take it for sound.
void Saver::doubt_resumed(RunLog& log) {
  if (resumed_ < 0) return;
  options_.doubted = resumed_;
  if (world_.rank() > 0) return;
  const std::string path = directory_ + "/" + checkpoint_name(resumed_);
  if (is_doubted(path)) return;
  const auto failure = failure_of([&] { doubt_checkpoint(path); });
  log.warning(
      fmt::format("checkpoint {} has proved not to be sound: --checkpoint.resume=sound goes back to the newest "
                  "that is{}",
                  path, failure ? fmt::format(" (not marked in it: {})", failure->text) : ""));
}

/// Lock, log and configuration lie in the folder in which the run began: in one that came in its place a checkpoint
/// would be another run's.
void Saver::expect_same_folder() const {
  if (folder_id(run_) != folder_)
    throw Error(ExitCode::Io, fmt::format("{} is another folder now than when this run began", run_),
                "Another job may use it: put the old folder back, or stop this run.");
}

/// Throws Error(Io), the same on every rank, when this save cannot start.
void Saver::save(const TrainState& state) {
  if (state.step == last_saved_) return;
  on_rank_0(world_, [&] { expect_same_folder(); });
  // Under the digest that the checkpoint names, nothing else may have been trained on.
  dataset_.expect_unchanged([&] { advance(data_.progress); });
  const double square = norm_.read(queue_, data_.weights.rows(data_.shard.begin, data_.shard.size()));
  if (world_.all_reduce_max(std::isfinite(square) ? 0 : 1) > 0)
    throw Error(ExitCode::Numeric,
                fmt::format("the weights of step {} are not finite, so they are not saved", state.step), way_back());
  if (!writer_) writer_ = std::make_unique<CheckpointWriter>(queue_, world_, directory_, options_, data_);
  data_.state = numbers_of(state);
  held_ = writer_->save(data_, info_);
  last_saved_ = in_flight_ = state.step;
}

void Saver::try_save(const TrainState& state, RunLog& log) {
  settle(log);
  tolerate([&] { save(state); }, log);
}

void Saver::save_and_wait(const TrainState& state, RunLog& log) {
  settle(log);
  save(state);
  if (writer_) writer_->finish();
  tell_committed(log);
}

std::string Saver::way_back() {
  std::string text;
  if (world_.rank() == 0) {
    // In this moment nothing may keep the first error from being told.
    const auto failure = failure_of([&] {
      const auto there = list_checkpoints(directory_);
      const auto sound = std::find_if(there.begin(), there.end(), [&](const CheckpointSummary& checkpoint) {
        return checkpoint.sound && checkpoint.step != options_.doubted;
      });
      if (there.empty())
        text = ": it starts from the beginning, since nothing has been saved";
      else if (sound == there.end())
        text = fmt::format(" in another run.dir: {} holds no sound checkpoint", directory_);
      else
        text = fmt::format(
            " and --checkpoint.resume={0}: it goes on from the checkpoint of step {0}, the newest that is sound",
            sound->step);
    });
    if (failure) text = fmt::format(" once the checkpoints can be read again ({})", failure->text);
  }
  broadcast_text(world_, text);
  return fmt::format("Start again with a lower optimizer.lr or {}{}.",
                     clips_ ? "optimizer.clip" : "with optimizer.clip (which is off)", text);
}

/// Rank 0 knows of a commit at once; the others need not, for they do not speak.
void Saver::tell_committed(RunLog& log) {
  if (!writer_) return;
  if (in_flight_ >= 0 && writer_->last_committed() == in_flight_) {
    log.saved(in_flight_, directory_, held_);
    in_flight_ = -1;
  }
  if (const auto warning = writer_->take_warning()) log.warning(*warning);
}

void Saver::tell(double step_seconds, RunLog& log) {
  tell_committed(log);
  if (lead_said_ || !writer_ || writer_->last_committed() < 0) return;
  lead_said_ = true;
  const double save_seconds = writer_->last_seconds();
  constexpr double kSchedulerSlack = 60;  // Slurm may send its signal that much off the time asked for
  log.note(
      fmt::format("signal     a step takes {:.2f} s, a save {:.2f} s: #SBATCH --signal=USR1@{:.0f} is early enough",
                  step_seconds, save_seconds, std::ceil(2 * step_seconds + save_seconds + kSchedulerSlack)));
}

void Saver::settle(RunLog& log) {
  if (writer_) tolerate([&] { writer_->finish(); }, log);
  tell_committed(log);
}

void Saver::tolerate(const std::function<void()>& write, RunLog& log) {
  try {
    write();
  } catch (const Error& error) {
    if (error.code() != ExitCode::Io) throw;
    last_saved_ = in_flight_ = -1;
    log.warning(fmt::format("{}. {} The checkpoints before it are intact.", error.what(), error.hint()));
  }
}

}  // namespace memring
