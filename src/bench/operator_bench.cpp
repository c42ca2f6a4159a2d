// memring bench gemm | attention | ops: single operators at a model's sizes, each beside the roof that its flops or its
// bytes allow: the GEMM ceiling, or a copy in memory, of the same run.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/error.h"
#include "base/profile.h"
#include "bench/bench.h"
#include "bench/operators.h"
#include "bench/yardstick.h"
#include "engine/engine.h"

namespace memring {
namespace {

constexpr double kLeastSeconds = 0.02;  // of one measurement, so that neither clock nor scheduler shows

struct Measured {
  std::vector<double> rate, share;
};

class OperatorMeasurement {
 public:
  OperatorMeasurement(const Config& config, Session& session)
      : world_(session.world()),
        queue_(numerics(config, session.node()).queue),
        operators_(model_shape(config), config.data.batch, sequence_shape(config).text_of(0)),
        ceiling_(world_, queue_),
        copy_(world_, queue_) {}

  Operators& operators() { return operators_; }

  /// flop/s of all cases together (all of them products), and their percentage of the GEMM ceiling.
  Measured flops_of(std::span<const Operators::Case> cases, int64_t pairs) {
    return measure(
        cases, pairs, [](const Profile::Line& line) { return line.flops; }, [&] { return ceiling_.measure(); });
  }
  /// bytes/s, and their percentage of a copy's.
  Measured bytes_of(const Operators::Case& one, int64_t pairs) {
    return measure(
        {&one, 1}, pairs, [](const Profile::Line& line) { return line.bytes; }, [&] { return copy_.measure(); });
  }

  std::vector<std::pair<std::string, std::string>> setting(const Config& config, int64_t pairs) const {
    return {{"model", fmt::format("dim {}, {} heads of {}, {} key/value heads, ffn {}, vocabulary {}", config.model.dim,
                                  config.model.heads, config.model.head_dim, config.model.kv_heads, config.model.ffn,
                                  config.model.vocab)},
            {"rows", fmt::format("{} sequences of {}", config.data.batch, sequence_shape(config).text_of(0))},
            {"compute", fmt::format("{} threads a rank, {}, {}", queue_.threads(), name_of(queue_.isa()),
                                    queue_.products() == Products::F32 ? "fp32" : "bf16")},
            {"pairs", fmt::format("{}", pairs)}};
  }

 private:
  template <class Amount, class Roof>
  Measured measure(std::span<const Operators::Case> cases, int64_t pairs, const Amount& amount, const Roof& roof) {
    Profile profile;
    const auto once = [&] {
      for (const auto& one : cases) one.run(queue_);
    };
    once();  // libraries choose their kernels
    queue_.set_profile(&profile);
    const double first = seconds_of(world_, once);
    queue_.set_profile(nullptr);
    double work = 0;
    for (const Profile::Line& line : profile.lines()) work += amount(line);
    const int64_t repeats = std::max<int64_t>(1, std::llround(std::ceil(kLeastSeconds / std::max(first, 1e-9))));
    Measured measured;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const double best = roof(), seconds = seconds_of(world_, [&] {
                                    for (int64_t i = 0; i < repeats; ++i) once();
                                  });
      const double rate = work * static_cast<double>(repeats * world_.size()) / seconds;
      measured.rate.push_back(rate / 1e9);
      measured.share.push_back(100 * rate / best);
    }
    return measured;
  }

  Communicator& world_;
  Queue queue_;
  Operators operators_;
  GemmYardstick ceiling_;
  CopyYardstick copy_;
};

void add(BenchResult& result, const std::string& name, const char* unit, const Measured& measured,
         std::optional<Budget> budget = std::nullopt) {
  result.figures.push_back({name, unit, spread_of(measured.rate)});
  result.figures.push_back({"  of its roof", "%", spread_of(measured.share), budget});
}

}  // namespace

BenchResult bench_gemm(const Config& config, const BenchOptions& options, Session& session) {
  OperatorMeasurement m(config, session);
  BenchResult result;
  result.setting = m.setting(config, options.pairs);
  for (const auto& one : m.operators().products()) add(result, one.name, "GF/s", m.flops_of({&one, 1}, options.pairs));
  return result;
}

BenchResult bench_attention(const Config& config, const BenchOptions& options, Session& session) {
  OperatorMeasurement m(config, session);
  BenchResult result;
  result.setting = m.setting(config, options.pairs);
  const auto cases = m.operators().attention();
  for (const auto& one : cases) add(result, one.name, "GF/s", m.flops_of({&one, 1}, options.pairs));
  add(result, "forward and backward", "GF/s", m.flops_of(cases, options.pairs), Budget{Budget::Kind::AtLeast, 65});
  return result;
}

BenchResult bench_ops(const Config& config, const BenchOptions& options, Session& session) {
  OperatorMeasurement m(config, session);
  BenchResult result;
  result.setting = m.setting(config, options.pairs);
  for (const auto& one : m.operators().passes()) {
    const bool product = one.name.starts_with("CrossEntropy");
    add(result, one.name, product ? "GF/s" : "GB/s",
        product ? m.flops_of({&one, 1}, options.pairs) : m.bytes_of(one, options.pairs));
  }
  return result;
}

}  // namespace memring
