// memring bench length: cost per token and peak memory of one ever longer sequence: evaluation and window training stay
// flat, full back-propagation grows by one boundary state a segment (DESIGN.md, section 3).
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/machine.h"
#include "bench/bench.h"
#include "bench/training_job.h"
#include "bench/yardstick.h"

namespace memring {
namespace {

constexpr int64_t kTimes[] = {1, 4, 16};  // data.length
constexpr double kMiB = 1 << 20;

struct Mode {
  const char* name;
  TbpttMode tbptt;
  bool backward;
};
constexpr Mode kModes[] = {{"evaluation", TbpttMode::Full, false},
                           {"window training", TbpttMode::Window, true},
                           {"full training", TbpttMode::Full, true}};

struct Cost {
  double ns_per_token = 0, peak = 0;  ///< peak: bytes beyond what the process had
};

/// Forward only: nothing is learned.
class EvaluationJob {
 public:
  EvaluationJob(const Config& config, Session& session)
      : batch_(config),
        mesh_(session.world(), resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, session.size())),
        model_(model_of(config)),
        engine_(config, model_, mesh_, session.node(),
                workload_of(config, batch_.sequences(), {batch_.shape()}, false)) {
    engine_.allocate();
    engine_.params().initialise(config.run.seed, engine_.queue());
  }
  void step() {
    Executor& executor = engine_.executor();
    executor.run(batch_, executor.draw(0, batch_.shape()));
  }

 private:
  const RandomBatch batch_;
  Mesh mesh_;
  Model model_;
  Engine engine_;
};

/// One sequence of `length` tokens in a job of its own.
Cost cost_of(const Config& config, const Mode& mode, int64_t length, Session& session) {
  Config one = config;
  one.data.length = length;
  one.tbptt.mode = mode.tbptt;
  Communicator& world = session.world();
  const int64_t before = reset_peak_memory();
  double seconds = 0;
  if (mode.backward) {
    TrainingJob job(one, session);
    seconds = seconds_of(world, [&] { job.step(); });
  } else {
    EvaluationJob job(one, session);
    seconds = seconds_of(world, [&] { job.step(); });
  }
  return {1e9 * seconds / static_cast<double>(length * config.data.batch),
          static_cast<double>(world.all_reduce_max(peak_memory() - before))};
}

std::string text_of(int64_t tokens) {
  if (tokens % (1 << 20) == 0) return fmt::format("{}M", tokens >> 20);
  return tokens % (1 << 10) == 0 ? fmt::format("{}K", tokens >> 10) : fmt::format("{}", tokens);
}

/// Costs of one mode at each length, by pair; percentages are beyond those of the shortest.
class ModeCosts {
 public:
  void measure(const Config& config, const Mode& mode, Session& session) {
    const int64_t length = config.data.length;
    std::array<Cost, kCount> costs;
    for (size_t i = 0; i < kCount; ++i) costs[i] = cost_of(config, mode, kTimes[i] * length, session);
    for (size_t i = 0; i < kCount; ++i) {
      cost_[i].push_back(costs[i].ns_per_token);
      peak_[i].push_back(costs[i].peak / kMiB);
      dearer_[i].push_back(100 * (costs[i].ns_per_token / costs[0].ns_per_token - 1));
      larger_[i].push_back(100 * (costs[i].peak - costs[0].peak) / std::max(costs[0].peak, kMiB));
    }
    const int64_t segments = (kTimes[kCount - 1] - kTimes[0]) * length / config.segment.length;
    slope_.push_back((costs[kCount - 1].peak - costs[0].peak) / static_cast<double>(segments));
  }

  /// Full back-propagation keeps a state of `state_bytes` at each boundary; 0: nothing may grow.
  void report(std::vector<Figure>& figures, const Mode& mode, int64_t length, double state_bytes) const {
    constexpr Budget kFlat{Budget::Kind::AtMost, 5};
    const std::string shortest = text_of(length);
    for (size_t i = 0; i < kCount; ++i) {
      const std::string tokens = text_of(kTimes[i] * length);
      figures.push_back({fmt::format("{}, {} tokens", mode.name, tokens), "ns/token", spread_of(cost_[i])});
      figures.push_back({"  peak memory", "MiB", spread_of(peak_[i])});
      if (i == 0) continue;
      figures.push_back(
          {fmt::format("  cost per token beyond that of {}", shortest), "%", spread_of(dearer_[i]), kFlat});
      if (state_bytes == 0)
        figures.push_back(
            {fmt::format("  peak memory beyond that of {}", shortest), "%", spread_of(larger_[i]), kFlat});
    }
    if (state_bytes == 0) return;
    std::vector<double> off;
    for (const double bytes : slope_) off.push_back(100 * std::abs(bytes / state_bytes - 1));
    figures.push_back({"  growth by segment", "B", spread_of(slope_)});
    figures.push_back({"  off one boundary state", "%", spread_of(off), kFlat});
  }

 private:
  static constexpr size_t kCount = std::size(kTimes);
  std::vector<double> cost_[kCount], peak_[kCount], dearer_[kCount], larger_[kCount], slope_;
};

}  // namespace

BenchResult bench_length(const Config& config, const BenchOptions& options, Session& session) {
  if (config.segment.length == 0)
    throw Error(ExitCode::Usage, "memring bench length: segment.length is 0, so nothing would cross a boundary",
                "Give a length of segments, for example --segment.length=512");
  BenchResult result;
  result.setting = {{"model", fmt::format("{} layers of {}, memory {} of {} tokens, segments of {}",
                                          config.model.layers, config.model.dim, word_of(config.memory.kind),
                                          config.memory.tokens, config.segment.length)},
                    {"pairs", fmt::format("{}", options.pairs)}};
  const double state = [&] {
    TrainingJob job(config, session);
    job.step();  // libraries choose their kernels
    return static_cast<double>(job.engine().executor().state_numbers() * bytes_of(job.engine().numerics().dtype));
  }();
  for (const Mode& mode : kModes) {
    ModeCosts costs;
    for (int64_t pair = 0; pair < options.pairs; ++pair) costs.measure(config, mode, session);
    const bool grows = mode.backward && mode.tbptt == TbpttMode::Full;
    costs.report(result.figures, mode, config.data.length, grows ? state : 0);
  }
  return result;
}

}  // namespace memring
