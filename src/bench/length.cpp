// memring bench length | uio-length: cost per token and peak memory of one ever longer sequence: evaluation and window
// training stay flat, full back-propagation grows by one boundary state a segment (DESIGN.md, section 3). Where
// segments append what all later ones see, both grow by what is appended.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

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

bool exact(const Mode& mode) { return mode.tbptt == TbpttMode::Full; }

/// How much of a state each segment adds to the peak. Of a chain, exact gradients keep that of each boundary.
double states_kept(const Mode& mode) { return mode.backward && exact(mode) ? 1 : 0; }

/// What segments append stays while later ones see it, with one adjoint, or two where not all of it goes on into the
/// segment; and a layer at work has its keys and values of all of them side by side, and their gradients.
double states_appended(const Mode& mode, int layers) {
  const double adjoints = !mode.backward ? 0 : exact(mode) ? 1 : 2;
  return 1 + adjoints + (mode.backward ? 2.0 : 1.0) / layers;
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

  /// `segment_bytes`: what each segment adds to the peak; 0: nothing may grow. `longer_costs_more`: a token's cost is a
  /// constant and a multiple of the segments that it sees, so that two lengths tell that of a third.
  void report(std::vector<Figure>& figures, const Mode& mode, int64_t length, double segment_bytes,
              bool longer_costs_more) const {
    constexpr Budget kFlat{Budget::Kind::AtMost, 5};
    const std::optional<Budget> dearer = longer_costs_more ? std::nullopt : std::optional(kFlat);
    const std::string shortest = text_of(length);
    for (size_t i = 0; i < kCount; ++i) {
      const std::string tokens = text_of(kTimes[i] * length);
      figures.push_back({fmt::format("{}, {} tokens", mode.name, tokens), "ns/token", spread_of(cost_[i])});
      figures.push_back({"  peak memory", "MiB", spread_of(peak_[i])});
      if (i == 0) continue;
      figures.push_back(
          {fmt::format("  cost per token beyond that of {}", shortest), "%", spread_of(dearer_[i]), dearer});
      if (segment_bytes == 0)
        figures.push_back(
            {fmt::format("  peak memory beyond that of {}", shortest), "%", spread_of(larger_[i]), kFlat});
    }
    if (longer_costs_more)
      figures.push_back(
          {fmt::format("  cost per token of {} off the line through the others", text_of(kTimes[1] * length)), "%",
           spread_of(off_the_line()), kFlat});
    if (segment_bytes == 0) return;
    std::vector<double> off;
    for (const double bytes : slope_) off.push_back(100 * std::abs(bytes / segment_bytes - 1));
    figures.push_back({"  growth by segment", "B", spread_of(slope_)});
    figures.push_back(
        {fmt::format("  off what a segment leaves, {:.0f} B", segment_bytes), "%", spread_of(off), kFlat});
  }

 private:
  /// A token sees half of the segments on average.
  std::vector<double> off_the_line() const {
    const double share = static_cast<double>(kTimes[1] - kTimes[0]) / static_cast<double>(kTimes[2] - kTimes[0]);
    std::vector<double> off;
    for (size_t i = 0; i < cost_[0].size(); ++i) {
      const double expected = cost_[0][i] + share * (cost_[2][i] - cost_[0][i]);
      off.push_back(100 * std::abs(cost_[1][i] / expected - 1));
    }
    return off;
  }

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
  double state = 0;
  bool appends = false;
  {
    TrainingJob job(config, session);
    job.step();  // libraries choose their kernels
    state = static_cast<double>(job.engine().executor().state_numbers() * bytes_of(job.engine().numerics().dtype));
    appends = job.engine().dependency() == Dependency::Append;
  }
  for (const Mode& mode : kModes) {
    ModeCosts costs;
    for (int64_t pair = 0; pair < options.pairs; ++pair) costs.measure(config, mode, session);
    costs.report(result.figures, mode, config.data.length,
                 state * (appends ? states_appended(mode, config.model.layers) : states_kept(mode)), appends);
  }
  return result;
}

}  // namespace memring
