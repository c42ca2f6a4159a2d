// CheckpointWriter: the main thread lays the file out and copies, a thread of each rank writes, rank 0's thread
// commits. Between ranks the threads speak through small files in the temporary directory, since only the main
// thread may use MPI.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "base/readback.h"
#include "checkpoint/agreement.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "checkpoint/part.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;

/// A rank whose record does not come has been lost, and then the job ends anyway: this only bounds the odd case.
constexpr auto kRecordPatience = std::chrono::hours(1);
constexpr auto kLastPatience = std::chrono::minutes(1);
constexpr auto kPoll = std::chrono::milliseconds(5);

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string record_path(const std::string& temporary, int rank) {
  return fmt::format("{}/rank-{}.json", temporary, rank);
}
std::string failure_path(const std::string& temporary, int rank) {
  return fmt::format("{}/rank-{}.failed", temporary, rank);
}

}  // namespace

struct CheckpointWriter::State {
  enum class Phase { Idle, Writing, Committing };

  State(const Queue& of_shard, Communicator& ranks, std::string where, WriterOptions chosen,
        const CheckpointData& shape);
  ~State();  ///< waits for the writer

  // Main thread.
  void lay_out_everywhere(const CheckpointData&, const CheckpointInfo&);
  void finish();

  // Writer thread.
  void run();
  void write_record();
  void commit();
  void gather_records();
  bool record_from(int rank) const;
  std::optional<Failure> clean_up(const std::string& replaced);

  const Queue& queue;
  Communicator& world;
  const int rank, ranks;
  const std::string directory;
  const WriterOptions options;
  FolderId folder;  ///< of `directory`, to which the caller's lock belongs; rank 0 only
  const FlatBuffer layout;
  const Range shard;
  const DType dtype;
  Progress* const progress;
  Arena arena;
  std::array<View<>, 3> copies;  ///< [shard.size()] of weights, m, v
  bool in_flight = false;        ///< main thread only, the same on all ranks

  // One job: set by the main thread while the writer is idle, the writer's from then on.
  Manifest manifest;
  std::string temporary;
  Clock::time_point start;

  std::mutex mutex;  ///< guards the next six
  std::condition_variable changed;
  Phase phase = Phase::Idle;
  bool quit = false, abandon = false;
  Clock::time_point patience;
  std::optional<Failure> part_failure, commit_failure;
  std::optional<std::string> warning;

  std::atomic<int64_t> committed{-1};
  std::atomic<double> took{0};
  std::map<int64_t, bool> verified;  ///< by step; writer thread only
  std::thread thread;
};

CheckpointWriter::State::State(const Queue& of_shard, Communicator& communicator, std::string where,
                               WriterOptions chosen, const CheckpointData& shape)
    : queue(of_shard),
      world(communicator),
      rank(communicator.rank()),
      ranks(communicator.size()),
      directory(std::move(where)),
      options(std::move(chosen)),
      layout(shape.layout),
      shard(shape.shard),
      dtype(shape.weights.dtype()),
      progress(shape.progress),
      arena(queue.staging(buffer_bytes(shape))) {
  for (View<>& copy : copies) copy = arena.take(dtype, {shard.size()});
}

CheckpointWriter::State::~State() {
  {
    const std::lock_guard lock(mutex);
    quit = true;
    patience = std::min(patience, Clock::now() + kLastPatience);
  }
  changed.notify_all();
  if (thread.joinable()) thread.join();
}

void CheckpointWriter::State::lay_out_everywhere(const CheckpointData& data, const CheckpointInfo& info) {
  manifest = Manifest{info, data.state, dtype, layout, std::vector<Places>(layout.entries.size()), 0, {}};
  std::optional<Failure> failure;
  if (rank == 0) {
    temporary = directory + "/" + temporary_name(step_of(data.state));
    failure = failure_of([&] {
      if (folder_id(directory) != folder)
        throw Error(ExitCode::Io, fmt::format("{} is another folder now than when this run began", directory),
                    "Another job may use it: put the old folder back, or stop this run.");
      remove_temporaries(directory);
      require_space(directory, file_estimate(layout, dtype));
      std::error_code error;
      if (!std::filesystem::create_directory(temporary, error))
        throw Error(ExitCode::Io,
                    fmt::format("cannot create folder {}: {}", temporary, error ? error.message() : "it exists"),
                    "Check that its parent is there and writable.");
      lay_out(manifest, temporary + "/" + kStateFile);
    });
    if (failure) remove_quietly(temporary);
  }
  failure = first_failure(world, failure);
  if (failure)
    throw Error(ExitCode::Io,
                fmt::format("the checkpoint of step {} cannot be saved: {}", step_of(data.state), failure->text),
                failure->hint);
  broadcast_text(world, temporary);
  world.broadcast(View<int64_t>(&manifest.file_bytes, {1}), 0);
  const auto places = static_cast<int64_t>(manifest.places.size() * kGroups.size());
  if (places > 0) world.broadcast(View<int64_t>(manifest.places.data()->data(), {places}), 0);
}

// Writer
// ------------------------------------------------------------------------------------------------------------------

void CheckpointWriter::State::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return phase == Phase::Writing || quit; });
      if (phase != Phase::Writing) return;
    }
    auto failure = failure_of([&] { write_record(); });
    // Rank 0 learns of it by this file, and if even that cannot be written, in finish().
    if (failure) (void)failure_of([&] { write_text_file(failure_path(temporary, rank), failure->text); });
    {
      const std::lock_guard lock(mutex);
      part_failure = std::move(failure);
      phase = Phase::Committing;
    }
    changed.notify_all();
    auto commit_result = rank == 0 ? failure_of([&] { commit(); }) : std::nullopt;
    {
      const std::lock_guard lock(mutex);
      commit_failure = std::move(commit_result);
      phase = Phase::Idle;
    }
    changed.notify_all();
  }
}

void CheckpointWriter::State::write_record() {
  const std::string record = write_part(manifest, temporary + "/" + kStateFile, shard, copies, progress);
  const std::string path = record_path(temporary, rank);
  write_text_file(path + ".part", record);
  rename_durably(path + ".part", path);
}

bool CheckpointWriter::State::record_from(int other) const {
  std::error_code error;
  return std::filesystem::exists(record_path(temporary, other), error) ||
         std::filesystem::exists(failure_path(temporary, other), error);
}

/// Waits until every rank has left a record or a failure, so that no one writes in the directory any more.
void CheckpointWriter::State::gather_records() {
  int seen = 0;
  while (seen < ranks) {
    if (record_from(seen) || (seen == 0 && part_failure)) {
      ++seen;
      continue;
    }
    std::unique_lock lock(mutex);
    if (abandon) throw Error(ExitCode::Io, "another rank could not write its part");
    std::error_code error;
    if (!std::filesystem::exists(temporary, error))  // and with it every record that there was
      throw Error(ExitCode::Io, fmt::format("{} is gone", temporary), "Check that the run directory is still there.");
    if (Clock::now() > patience)
      throw Error(ExitCode::Io, fmt::format("rank {} has not written its part in time", seen),
                  "Check that all ranks see the same files in the run's directory.");
    changed.wait_for(lock, kPoll);
  }
  if (part_failure) throw Error(ExitCode::Io, part_failure->text, part_failure->hint);
  for (int other = 0; other < ranks; ++other)
    if (exists_at(failure_path(temporary, other)))
      throw Error(ExitCode::Io, fmt::format("rank {} could not write its part", other));
}

void CheckpointWriter::State::commit() {
  std::string replaced;
  try {
    gather_records();
    manifest.digests.assign(static_cast<size_t>(manifest.blocks()), {});
    for (int other = 0; other < ranks; ++other) {
      const std::string path = record_path(temporary, other);
      add_digests(manifest, read_text_file(path));
      std::error_code error;
      std::filesystem::remove(path, error);
      if (error) throw Error(ExitCode::Io, fmt::format("cannot remove {}: {}", path, error.message()));
    }
    complete_digests(manifest, temporary + "/" + kStateFile, progress);
    write_text_file(temporary + "/" + kManifestFile, render_manifest(manifest));
    sync_folder(temporary);
    replaced = publish(temporary, directory + "/" + checkpoint_name(step_of(manifest.state)));
  } catch (...) {
    remove_quietly(temporary);
    throw;
  }
  took = seconds_since(start);
  committed = step_of(manifest.state);
  verified[step_of(manifest.state)] = true;  // every rank compared its bytes with its copy
  // From here on nothing takes it back.
  if (const auto failure = clean_up(replaced)) {
    const std::lock_guard lock(mutex);
    warning = fmt::format("the checkpoint of step {} is saved, but {}. {}", step_of(manifest.state), failure->text,
                          failure->hint);
  }
}

/// What is to be done behind a commit; returns the first failure. That one thing fails keeps nothing else from being
/// done: on a full disk nothing but pruning makes room.
std::optional<Failure> CheckpointWriter::State::clean_up(const std::string& replaced) {
  std::optional<Failure> first;
  const auto attempt = [&](auto&& action) {
    auto failure = failure_of(action);
    if (!first) first = std::move(failure);
  };
  if (options.committed) attempt([&] { options.committed(manifest.state); });
  if (!replaced.empty()) attempt([&] { remove_folder(replaced); });
  attempt([&] { prune(directory, std::max<int64_t>(options.keep, 2), options.doubted, verified, progress); });
  return first;
}

// Main thread
// -------------------------------------------------------------------------------------------------------------

void CheckpointWriter::State::finish() {
  if (!in_flight) return;
  std::optional<Failure> failure;
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return phase != Phase::Writing; });
    failure = part_failure;
  }
  failure = first_failure(world, failure);
  {
    std::unique_lock lock(mutex);
    abandon = failure.has_value();
    changed.notify_all();
    changed.wait(lock, [&] { return phase == Phase::Idle; });
  }
  in_flight = false;
  if (!failure) failure = first_failure(world, commit_failure);
  int64_t newest = committed;
  double seconds = took;
  world.broadcast(View<int64_t>(&newest, {1}), 0);
  world.broadcast(View<double>(&seconds, {1}), 0);
  committed = newest;
  took = seconds;
  if (!failure) return;
  throw Error(ExitCode::Io,
              fmt::format("the checkpoint of step {} ({} bytes) was not saved: {}", step_of(manifest.state),
                          manifest.file_bytes, failure->text),
              failure->hint.empty() ? "Check the disk and the folder." : failure->hint);
}

CheckpointWriter::CheckpointWriter(const Queue& queue, Communicator& world, std::string directory,
                                   WriterOptions options, const CheckpointData& shape) {
  std::vector<int64_t> bounds(static_cast<size_t>(2 * world.size()));
  int64_t mine[2] = {shape.shard.begin, shape.shard.end};
  world.all_gather(View<int64_t>(bounds.data(), {world.size(), 2}), View<int64_t>(mine, {2}));
  int64_t covered = 0;
  for (size_t i = 0; i < bounds.size(); i += 2) {
    check(bounds[i] == covered && bounds[i + 1] >= covered, "the shards of a checkpoint do not tile its flat buffer");
    covered = bounds[i + 1];
  }
  check(covered == shape.layout.size, "the shards of a checkpoint do not cover its flat buffer");

  auto failure = failure_of([&] {
    if (world.rank() == 0) {
      std::error_code error;
      std::filesystem::create_directories(directory, error);
      if (error)
        throw Error(ExitCode::Io, fmt::format("cannot create folder {}: {}", directory, error.message()),
                    "Choose another run.dir, or check the permissions of its parent.");
    }
    state_ = std::make_unique<State>(queue, world, std::move(directory), std::move(options), shape);
    if (world.rank() == 0) state_->folder = folder_id(state_->directory);
    // Signals are the main thread's business; the writer takes none, SIGXFSZ included, whose errno it reports.
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    auto started = failure_of([&] { state_->thread = std::thread([state = state_.get()] { state->run(); }); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (started) throw Error(ExitCode::Io, "cannot start the thread that writes checkpoints: " + started->text);
  });
  failure = first_failure(world, failure);
  if (failure) throw Error(ExitCode::Io, failure->text, failure->hint);
}

CheckpointWriter::~CheckpointWriter() = default;

double CheckpointWriter::save(const CheckpointData& data, const CheckpointInfo& info) {
  State& state = *state_;
  const auto start = Clock::now();
  check(data.shard.begin == state.shard.begin && data.shard.end == state.shard.end,
        "a checkpoint's shard differs from what its writer was made for");
  expect(data.weights, state.dtype, {state.layout.size}, "checkpoint weights");
  expect(data.m, state.dtype, {state.shard.size()}, "checkpoint m");
  expect(data.v, state.dtype, {state.shard.size()}, "checkpoint v");
  state.finish();
  state.lay_out_everywhere(data, info);

  const std::array<View<>, 3> sources = {data.weights.rows(state.shard.begin, state.shard.size()), data.m, data.v};
  for (size_t i = 0; i < sources.size(); ++i) copy_later(state.queue, state.copies[i], sources[i]);
  state.queue.finish(state.queue.record());
  {
    const std::lock_guard lock(state.mutex);
    state.start = start;
    state.abandon = false;
    state.part_failure = state.commit_failure = std::nullopt;
    state.patience = Clock::now() + kRecordPatience;
    state.phase = State::Phase::Writing;
  }
  state.in_flight = true;
  state.changed.notify_all();
  return seconds_since(start);
}

void CheckpointWriter::finish() { state_->finish(); }
int64_t CheckpointWriter::last_committed() const { return state_->committed; }
double CheckpointWriter::last_seconds() const { return state_->took; }

std::optional<std::string> CheckpointWriter::take_warning() {
  const std::lock_guard lock(state_->mutex);
  return std::exchange(state_->warning, std::nullopt);
}

int64_t CheckpointWriter::buffer_bytes(const CheckpointData& shape) {
  Arena measured;
  for (size_t group = 0; group < kGroups.size(); ++group) measured.take(shape.weights.dtype(), {shape.shard.size()});
  return measured.peak();
}

}  // namespace memring
