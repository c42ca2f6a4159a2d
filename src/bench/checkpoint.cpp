// memring bench checkpoint: how long a save holds the training loop up and slows the steps beside it, and how fast it
// is written and read back, next to what a plain file of the same size does on the same disk.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/text.h"
#include "bench/bench.h"
#include "bench/training_job.h"
#include "bench/workplace.h"
#include "checkpoint/manifest.h"
#include "io/file.h"
#include "train/train_state.h"

namespace memring {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr double kSaveEvery = 60;  // seconds: the budget is for one save a minute
constexpr size_t kPlainPiece = size_t{1} << 20;

/// Sequential writes of 1 MiB from `source`, over and over, then fsync: `dd bs=1M conv=fsync` with real bytes.
void write_plainly(const std::string& path, std::span<const std::byte> source, int64_t bytes) {
  File file = File::create(path);
  for (int64_t done = 0; done < bytes;) {
    const size_t from = static_cast<size_t>(done) % source.size();
    const size_t piece = std::min({kPlainPiece, source.size() - from, static_cast<size_t>(bytes - done)});
    file.write_at(done, source.subspan(from, piece));
    done += static_cast<int64_t>(piece);
  }
  file.sync();
  file.close();
}

void read_plainly(const std::string& path) {
  const File file = File::open_read(path);
  std::vector<std::byte> piece(kPlainPiece);
  const int64_t size = file.size();
  for (int64_t done = 0; done < size; done += static_cast<int64_t>(kPlainPiece))
    file.read_at(done, std::span(piece).first(std::min(kPlainPiece, static_cast<size_t>(size - done))));
}

/// Takes a file that is on the disk out of memory, so that reading it needs the disk again.
void forget(const std::string& path) {
  (void)::posix_fadvise(File::open_read(path).descriptor(), 0, 0, POSIX_FADV_DONTNEED);
}

class Measurement {
 public:
  Measurement(const Config& config, Session& session, const std::string& folder)
      : world_(session.world()),
        job_(config, session),
        data_(job_.state()),
        info_(job_.info(config, session)),
        directory_(folder + "/checkpoints"),
        plain_(folder + "/plain"),
        writer_(job_.engine().queue(), world_, directory_, {}, data_) {
    job_.step();  // libraries choose their kernels in the first step
    save_alone();
    bytes_ = world_.all_reduce_max(world_.rank() == 0 ? read_manifest(newest()).bytes : 0);
  }

  /// Steps with a save beside them, and as many without.
  void measure_stall() {
    world_.barrier();
    auto start = Clock::now();
    held.push_back(save());
    int64_t steps = 0;
    // A save that fails is never committed: its error comes from finish().
    while (!agreed(writer_.last_committed() == step_of(data_.state) || seconds_since(start) > kSaveEvery)) {
      job_.step();
      ++steps;
    }
    job_.step();  // older checkpoints are removed behind the commit
    const double beside = seconds_since(start);
    writer_.finish();

    world_.barrier();
    start = Clock::now();
    for (int64_t i = 0; i <= steps; ++i) {
      agreed(false);
      job_.step();
    }
    const double alone = seconds_since(start);
    step.push_back(alone / static_cast<double>(steps + 1));
    slowed.push_back(beside - held.back() - alone);
    stall.push_back(100 * (beside - alone) / kSaveEvery);
  }

  void measure_write() {
    // A virtual machine may have to get memory for the system's file cache from its host, at a cost that says nothing
    // about the disk: a first plain file, not timed, leaves what the second needs, and the save after it.
    const auto plainly = [&] { write_plainly(plain_, bytes_of_weights(), bytes_); };
    on_rank_0(plainly);
    const double plain = on_rank_0(plainly);
    const double mine = save_alone();
    add(write, plain_write, write_ratio, mine, plain);
  }

  /// Needs the files of measure_write().
  void measure_load() {
    on_rank_0([&] { forget(newest() + "/" + kStateFile), forget(plain_); });
    const auto start = Clock::now();
    load_checkpoint(world_, newest(), data_);
    world_.barrier();
    const double mine = seconds_since(start);
    add(load, plain_read, load_ratio, mine, on_rank_0([&] { read_plainly(plain_); }));
  }

  int64_t bytes() const { return bytes_; }
  TrainingJob& job() { return job_; }

  // By pair: seconds, MB/s, and percent.
  std::vector<double> held, slowed, step, stall, write, plain_write, write_ratio, load, plain_read, load_ratio;

 private:
  double save() {
    data_.state = numbers_of({.step = step_of(data_.state) + 1});
    return writer_.save(data_, info_);
  }
  double save_alone() {
    world_.barrier();
    save();
    writer_.finish();
    return writer_.last_seconds();
  }
  std::string newest() const { return directory_ + "/" + checkpoint_name(step_of(data_.state)); }
  bool agreed(bool mine) { return world_.all_reduce_max(mine && world_.rank() == 0 ? 1 : 0) == 1; }
  std::span<const std::byte> bytes_of_weights() const {
    return {static_cast<const std::byte*>(data_.weights.data()), static_cast<size_t>(data_.weights.bytes())};
  }
  template <class F>
  double on_rank_0(F&& work) {
    world_.barrier();
    const auto start = Clock::now();
    if (world_.rank() == 0) work();
    const double seconds = seconds_since(start);
    world_.barrier();
    return seconds;
  }
  void add(std::vector<double>& mine, std::vector<double>& plain, std::vector<double>& ratio, double my_seconds,
           double plain_seconds) const {
    const double megabytes = static_cast<double>(bytes_) / 1e6;
    mine.push_back(megabytes / my_seconds);
    plain.push_back(megabytes / plain_seconds);
    ratio.push_back(100 * plain_seconds / my_seconds);
  }

  Communicator& world_;
  TrainingJob job_;
  CheckpointData data_;
  CheckpointInfo info_;
  std::string directory_, plain_;
  CheckpointWriter writer_;
  int64_t bytes_ = 0;
};

}  // namespace

BenchResult bench_checkpoint(const Config& config, const BenchOptions& options, Session& session) {
  std::optional<Workplace> workplace;
  if (session.rank() == 0) workplace.emplace(config.run.dir);
  session.world().barrier();  // nobody writes there before it is ours
  BenchResult result;
  {
    Measurement m(config, session, config.run.dir + "/memring-bench");
    for (int64_t pair = 0; pair < options.pairs; ++pair) {
      m.measure_stall();
      m.measure_write();
      m.measure_load();
    }
    Engine& engine = m.job().engine();
    std::error_code unknown;
    result.setting = {{"state", fmt::format("{} in {}, {} tensors", bytes_text(static_cast<double>(m.bytes())),
                                            std::filesystem::absolute(config.run.dir, unknown).string(),
                                            3 * engine.params().layout().entries.size())},
                      {"compute", fmt::format("{} threads a rank, {}, {}", engine.queue().threads(),
                                              name_of(engine.queue().isa()), word_of(engine.numerics().precision))},
                      {"pairs", fmt::format("{}", options.pairs)}};
    const auto figure = [&](const char* name, const char* unit, const std::vector<double>& values,
                            std::optional<Budget> budget = std::nullopt) {
      result.figures.push_back({name, unit, spread_of(values), budget});
    };
    figure("stall of training at one save a minute", "%", m.stall, Budget{Budget::Kind::AtMost, 2});
    figure("  held in save()", "s", m.held);
    figure("  steps beside the writer take longer by", "s", m.slowed);
    figure("  a step alone", "s", m.step);
    figure("save", "MB/s", m.write);
    figure("plain write and fsync", "MB/s", m.plain_write);
    figure("save / plain write", "%", m.write_ratio, Budget{Budget::Kind::AtLeast, 80});
    figure("load, not from memory", "MB/s", m.load);
    figure("plain read, not from memory", "MB/s", m.plain_read);
    figure("load / plain read", "%", m.load_ratio);
  }
  session.world().barrier();  // all ranks have closed their files
  return result;
}

}  // namespace memring
