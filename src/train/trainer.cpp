// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.h"

#include <fmt/ranges.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "base/machine.h"
#include "base/version.h"
#include "data/dataset.h"
#include "engine/engine.h"
#include "io/agreement.h"
#include "io/checkpoint.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm/norm.h"
#include "runlog/runlog.h"
#include "train/curriculum.h"
#include "train/optimizer.h"
#include "train/run_directory.h"
#include "train/stop.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string mesh_text(MeshShape mesh) { return fmt::format("{} x {} x {}", mesh.data, mesh.segment, mesh.token); }

/// When to save besides at the end: by steps on every rank alike, by the clock of rank 0, which asks in the reduction.
class SaveTimes {
 public:
  explicit SaveTimes(const CheckpointConfig& config) : config_(config) {}
  void ask(StepSums& sums, bool rank0) const {
    if (rank0 && config_.every_minutes > 0 && seconds_since(last_) >= 60 * config_.every_minutes) sums.save = true;
  }
  bool due(int64_t step, const StepSums& reduced) const {
    return reduced.save || (config_.every > 0 && step % config_.every == 0);
  }
  void saved() { last_ = Clock::now(); }

 private:
  CheckpointConfig config_;
  Clock::time_point last_ = Clock::now();
};

/// Where a run goes on, and what there is to say about it.
struct Resumed {
  TrainState state;
  std::string path;                      ///< of the checkpoint; empty: a fresh run
  std::vector<std::string> differences;  ///< from the run that saved: the same bits are promised where there are none
  std::vector<std::string> warnings;     ///< damaged checkpoints that were passed over
};

/// What is saved, and the words that go with it.
class Saver {
 public:
  Saver(const Config& config, const Dataset& dataset, Session& session, Mesh& mesh, Engine& engine,
        Optimizer& optimizer, Range shard)
      : data_{.layout = engine.params().layout(),
              .shard = shard,
              .weights = engine.params().weights(),
              .m = optimizer.m(),
              .v = optimizer.v(),
              .state = {},
              .progress = &session.progress()},
        info_{.config = render_config(config),
              .identity = config_identity(config) + "data.digest=" + dataset.digest() + "\n",
              .mesh = mesh_text(mesh.shape()),
              .isa = name_of(engine.queue().isa()),
              .dtype = engine.numerics().name,
              .version = version(),
              .threads = engine.queue().threads(),
              .ranks = session.size()},
        world_(session.world()),
        queue_(engine.queue()),
        directory_(checkpoint_directory(config.run.dir)),
        keep_(config.checkpoint.keep) {}

  Resumed resume() {
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
  void save(const TrainState& state, RunLog& log) {
    if (state.step == last_saved_) return;
    const double square = SquaredNorm::of(queue_, data_.weights.rows(data_.shard.begin, data_.shard.size()));
    if (world_.all_reduce_max(std::isfinite(square) ? 0 : 1) > 0)
      throw Error(
          ExitCode::Numeric, fmt::format("the weights of step {} are not finite, so they are not saved", state.step),
          "Start again with a lower optimizer.lr or optimizer.clip: it resumes from the last checkpoint, or from "
          "the beginning where there is none.");
    if (!writer_) writer_ = std::make_unique<CheckpointWriter>(world_, directory_, keep_, data_);
    data_.state = state;
    const double held = writer_->save(data_, info_);
    last_saved_ = state.step;
    log.saved(state.step, directory_, held);
  }
  /// A save that fails while training goes on costs no more than the time since the last good one.
  void try_save(const TrainState& state, RunLog& log) {
    settle(log);
    tolerate([&] { save(state, log); }, log);
  }
  /// The first time that a save has been committed: how long before its end a job must be told to save.
  void say_lead(double step_seconds, RunLog& log) {
    if (lead_said_ || !writer_ || writer_->last_committed() < 0) return;
    lead_said_ = true;
    const double save_seconds = writer_->last_seconds();
    constexpr double kSchedulerSlack = 60;  // Slurm may send its signal that much off the time asked for
    log.note(
        fmt::format("signal     a step takes {:.2f} s, a save {:.2f} s: #SBATCH --signal=USR1@{:.0f} is early enough",
                    step_seconds, save_seconds, std::ceil(2 * step_seconds + save_seconds + kSchedulerSlack)));
  }
  /// The last save of a run: returns when it is committed, or throws.
  void save_and_wait(const TrainState& state, RunLog& log) {
    settle(log);
    save(state, log);
    if (writer_) writer_->finish();
  }

 private:
  /// Waits for the save in flight. That it failed must not cost the next one too.
  void settle(RunLog& log) {
    if (writer_) tolerate([&] { writer_->finish(); }, log);
  }
  void tolerate(const std::function<void()>& write, RunLog& log) {
    try {
      write();
    } catch (const Error& error) {
      if (error.code() != ExitCode::Io) throw;
      last_saved_ = -1;
      log.warning(fmt::format("{}. {} The checkpoints before it are intact.", error.what(), error.hint()));
    }
  }

  CheckpointData data_;
  CheckpointInfo info_;
  Communicator& world_;
  Queue& queue_;
  std::string directory_;
  int64_t keep_;
  std::unique_ptr<CheckpointWriter> writer_;
  int64_t last_saved_ = -1;
  bool lead_said_ = false;
};

std::vector<std::pair<std::string, std::string>> start_facts(const Config& config, Session& session, Mesh& mesh,
                                                             Engine& engine, const Dataset& dataset,
                                                             const Curriculum& curriculum) {
  Executor& executor = engine.executor();
  const SequenceShape& shape = engine.workload().shapes.back();
  std::string memory;
  for (const auto& [name, bytes] : engine.plan().parts)
    if (bytes > 0)
      memory += fmt::format("{}{} {:.1f}", memory.empty() ? "" : ", ", name, static_cast<double>(bytes) / (1 << 20));
  return {
      {"run", config.run.dir},
      {"ranks", fmt::format("{} as data x segment x token = {}, {} on {}", session.size(), mesh_text(mesh.shape()),
                            session.node().ranks, session.host())},
      {"compute",
       fmt::format("cpu, {} thread{} a rank, {}, {}", engine.queue().threads(),
                   engine.queue().threads() == 1 ? "" : "s", name_of(engine.queue().isa()), engine.numerics().name)},
      {"model", fmt::format("{} parameters, memory {}{}", engine.params().layout().size, config.memory.kind,
                            config.memory.kind == "rmt"
                                ? fmt::format(" ({} tokens, {})", config.memory.tokens, config.memory.mask)
                                : "")},
      {"data",
       fmt::format("{}, {} segments each{}", dataset.description(), shape.segments(),
                   curriculum.stages().size() > 1 ? fmt::format(", in {} stages", curriculum.stages().size()) : "")},
      {"schedule", fmt::format("{} streams of {} sequences a rank group, tbptt {}{}, {}, efficiency {:.2f}",
                               executor.streams(), executor.micro_batch(), config.tbptt.mode,
                               config.tbptt.mode == "window" ? fmt::format(" {}", config.tbptt.window) : "",
                               executor.recomputes() ? "recompute" : "activations kept", executor.efficiency())},
      {"memory",
       fmt::format("{:.1f} MiB planned on a rank: {}", static_cast<double>(engine.plan().total()) / (1 << 20), memory)},
  };
}

/// Bits depend on the instruction set, and so on which host a rank runs: legal, but to be known.
void warn_about_mixed_hosts(Communicator& world, Engine& engine, RunLog& log) {
  const auto isa = static_cast<int64_t>(engine.queue().isa());
  const int64_t most = world.all_reduce_max(isa), least = -world.all_reduce_max(-isa);
  if (most != least)
    log.warning(fmt::format(
        "ranks compute with different instruction sets, {} to {}: set device.isa = {} for the same "
        "bits on every host",
        name_of(static_cast<Isa>(least)), name_of(static_cast<Isa>(most)), name_of(static_cast<Isa>(least))));
}

void print_schedule(Executor& executor, Session& session) {
  Schedule& schedule = executor.main_schedule();
  schedule.restart();
  std::vector<Action> window;
  while (schedule.next_window(window))
    for (const Action& action : window) fmt::print("rank {} {}\n", session.rank(), describe(action));
}

void warn_about_idle_ranks(const Workload& workload, Executor& executor, MeshShape mesh, Dependency dependency,
                           RunLog& log) {
  if (workload.shapes.back().segments() < mesh.segment)
    log.warning(fmt::format(
        "{} segments on a segment axis of {} ranks: {} ranks have no work; use mesh.data for them, or a shorter "
        "segment.length",
        workload.shapes.back().segments(), mesh.segment, mesh.segment - workload.shapes.back().segments()));
  else if (dependency == Dependency::TopToInput && mesh.segment > 1 && executor.efficiency() < 0.8)
    log.warning(fmt::format(
        "the schedule keeps the ranks busy {:.0f} % of the time: a larger data.batch, or mesh.data in place of "
        "mesh.segment, fills the gaps",
        100 * executor.efficiency()));
}

}  // namespace

ExitCode train(const Config& config, Session& session, SignalWatch& signals) {
  const bool rank0 = session.rank() == 0;
  Progress& progress = session.progress();
  Mesh mesh(session.world(), resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, session.size()));
  const std::unique_ptr<Dataset> dataset = open_dataset(config);
  require_same_tokens(session.world(), config.data.path, dataset->digest());
  const Curriculum curriculum(config, dataset->fewest_segments());
  std::optional<GradientSync> sync;
  Engine engine(config, mesh, session.node(), workload_of(config, config.data.batch, curriculum.stages(), true),
                [&](const FlatBuffer& layout, DType dtype) {
                  sync.emplace(session.world(), layout.size);
                  const CheckpointData shape{.layout = layout,
                                             .shard = sync->shard(),
                                             .weights = View<>(nullptr, dtype, {layout.size}),
                                             .m = {},
                                             .v = {},
                                             .state = {}};
                  return Optimizer::bytes(dtype, sync->shard().size()) + CheckpointWriter::buffer_bytes(shape);
                });
  Executor& executor = engine.executor();
  Params& params = engine.params();
  params.initialise(config.run.seed);
  Optimizer optimizer(engine.queue(), params, sync->shard(), config.optimizer);

  std::optional<RunLock> lock;
  if (rank0) {  // not before data and plan have proved usable
    make_run_directory(config.run.dir);
    lock.emplace(config.run.dir);
    claim_run_directory(config);
  }
  session.world().barrier();  // nobody reads the directory before it is ours
  Saver saver(config, *dataset, session, mesh, engine, optimizer, sync->shard());
  progress.enter(Phase::Load);
  const Resumed resumed = saver.resume();
  TrainState state = resumed.state;
  RunLog log({.speaks = rank0,
              .jsonl = config.log.jsonl ? metrics_file(config.run.dir) : "",
              .every = config.log.every,
              .first_step = state.step});
  log.start(start_facts(config, session, mesh, engine, *dataset, curriculum));
  if (config.log.schedule) print_schedule(executor, session);
  warn_about_mixed_hosts(session.world(), engine, log);
  warn_about_idle_ranks(engine.workload(), executor, mesh.shape(), engine.dependency(), log);
  for (const auto& warning : resumed.warnings) log.warning(warning);
  if (!resumed.path.empty()) log.resumed(state.step, resumed.path, resumed.differences);

  SaveTimes saves(config.checkpoint);
  StopConditions stop(config.run, signals);
  executor.set_cell_observer([&](int64_t done, int64_t total) { log.progress(state.step + 1, done, total); });

  const double seconds_before = state.seconds;
  const auto start = Clock::now();
  StopReason reason = stop.decide(state);
  while (reason == StopReason::None) {
    const auto step_start = Clock::now();
    progress.step = state.step + 1;
    const SequenceShape shape = curriculum.shape(state);
    const auto batch = dataset->at(state.step, shape);
    const BoundaryWeights weights = executor.draw(shape);
    Elementwise::fill(engine.queue(), params.gradients(), 0);
    StepSums local = executor.run(*batch, weights);
    stop.ask(local, rank0);
    saves.ask(local, rank0);
    progress.enter(Phase::Reduce);
    const ReducedStep reduced = sync->reduce(engine.queue(), params.gradients(), local);

    progress.enter(Phase::Update);
    const double lr = learning_rate(config.optimizer, state.step, config.run.steps);
    if (reduced.finite && reduced.sums.targets > 0) {
      optimizer.step(lr, state.step - state.skipped + 1, optimizer.clipping(reduced.norm) / reduced.sums.targets);
      sync->gather(params.weights());
      state.skipped_in_row = 0;
    } else {
      ++state.skipped;
      log.skipped(state.step + 1, reduced.norm, ++state.skipped_in_row);
    }
    ++state.step;
    state.tokens += static_cast<int64_t>(reduced.sums.tokens);
    state.seconds = seconds_before + seconds_since(start);
    const double stage_loss = state.stage_loss;
    if (curriculum.advance(state, shape, reduced))
      log.stage(state.step, state.stage, std::ssize(curriculum.stages()), curriculum.stage(state), stage_loss);

    const int64_t memory = state.step % config.log.every == 0 || state.step == 1
                               ? session.world().all_reduce_max(peak_memory())
                               : peak_memory();
    log.step({.step = state.step,
              .steps = config.run.steps,
              .loss = reduced.loss(),
              .lr = lr,
              .norm = reduced.norm,
              .tokens = state.tokens,
              .step_tokens = static_cast<int64_t>(reduced.sums.tokens),
              .segments = shape.segments(),
              .step_seconds = seconds_since(step_start),
              .memory_bytes = memory,
              .skipped = state.skipped});
    saver.say_lead(seconds_since(step_start), log);
    if (state.skipped_in_row > config.run.max_skipped)
      throw Error(ExitCode::Numeric,
                  fmt::format("the gradient was not finite in {} steps in a row, up to step {}", state.skipped_in_row,
                              state.step),
                  "Start again with a lower optimizer.lr or optimizer.clip, or look at the data of these steps: it "
                  "resumes from the last checkpoint, or from the beginning where there is none.");
    reason = stop.decide(state, reduced);
    if (reason == StopReason::None && saves.due(state.step, reduced.sums)) {
      progress.enter(Phase::Save);
      saver.try_save(state, log);
      saves.saved();
    }
  }
  progress.enter(Phase::Save);
  saver.save_and_wait(state, log);

  const ExitCode code = finished(reason) ? ExitCode::Done : ExitCode::Again;
  log.end(describe(reason), state.step, state.tokens, state.seconds, static_cast<int>(code));
  if (code == ExitCode::Again) log.note("           start the same command again to go on");
  return code;
}

}  // namespace memring
