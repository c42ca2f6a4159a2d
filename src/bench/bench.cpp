// SPDX-License-Identifier: Apache-2.0
#include "bench/bench.h"

#include <fmt/chrono.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/nearest.h"

namespace memring {
namespace {

/// 85 million parameters: 1 GiB of weights and moments.
constexpr std::string_view kLargeState = R"([run]
dir = .
[model]
layers = 12
dim = 768
heads = 12
[data]
batch = 2
length = 256
)";

/// The small Llama of DESIGN.md, section 10.
constexpr std::string_view kSmallLlama = R"([model]
layers = 4
dim = 256
heads = 4
ffn = 688
vocab = 512
[data]
batch = 8
length = 512
)";

/// Its updates alone, on a frozen base.
constexpr std::string_view kSmallAdapter = R"([model]
layers = 4
dim = 256
heads = 4
ffn = 688
vocab = 512
train = lora
[lora]
rank = 8
[data]
batch = 8
length = 512
)";

/// The same as a recurrent memory transformer: one sequence of eight segments, exact back-propagation.
constexpr std::string_view kSmallRmt = R"([model]
layers = 4
dim = 256
heads = 4
ffn = 688
vocab = 512
[memory]
kind = rmt
tokens = 16
[segment]
length = 512
[data]
batch = 1
length = 4096
)";

constexpr std::string_view kAttention = R"([model]
layers = 1
dim = 256
heads = 4
[data]
batch = 1
length = 8192
)";

/// A boundary state of 16 KiB, so that its growth shows beside everything else.
constexpr std::string_view kLongRmt = R"([model]
layers = 1
dim = 128
heads = 2
vocab = 64
[memory]
kind = rmt
tokens = 32
[segment]
length = 512
[tbptt]
window = 2
recompute = always
[data]
batch = 1
length = 65536
)";

/// The small Llama that reads what it has compressed: one sequence of eight segments.
constexpr std::string_view kSmallUio = R"([model]
layers = 4
dim = 256
heads = 4
ffn = 688
vocab = 512
[memory]
kind = uio
tokens = 32
[segment]
length = 512
[data]
batch = 1
length = 4096
)";

/// Memories of 16 KiB a segment.
constexpr std::string_view kLongUio = R"([model]
layers = 2
dim = 128
heads = 2
vocab = 64
[memory]
kind = uio
tokens = 8
[segment]
length = 512
[tbptt]
window = 2
recompute = always
[data]
batch = 1
length = 16384
)";

/// One sequence as one segment, over the token axis.
constexpr std::string_view kRing = R"([model]
layers = 2
dim = 256
heads = 4
vocab = 512
[mesh]
data = 1
token = 0
[data]
batch = 1
length = 4096
)";

/// One sequence of many segments, whose layers run as a wavefront over the segment axis.
constexpr std::string_view kWavefront = R"([model]
layers = 4
dim = 256
heads = 4
vocab = 512
[mesh]
data = 1
segment = 0
[memory]
kind = armt
tokens = 16
key_dim = 16
[segment]
length = 512
[tbptt]
mode = window
window = 8
[data]
batch = 1
length = 16384
)";

constexpr std::string_view kBatches = R"([run]
dir = .
[data]
batch = 8
length = 4096
)";

constexpr std::string_view kLargeLlama = R"([model]
layers = 8
dim = 1024
heads = 16
kv_heads = 4
ffn = 2816
vocab = 32000
[data]
batch = 1
length = 2048
)";

std::string budget_text(const Figure& figure) {
  if (!figure.budget) return {};
  return fmt::format("{} {:g}: {}", figure.budget->kind == Budget::Kind::AtMost ? "at most" : "at least",
                     figure.budget->value, figure.missed() ? "MISSED" : "kept");
}

}  // namespace

std::span<const Benchmark> benchmarks() {
  static constexpr Benchmark kAll[] = {
      {"checkpoint", "what saving costs the training loop; speed of saving and loading beside the plain disk",
       kLargeState, bench_checkpoint},
      {"gemm", "the small Llama's linear layers beside the GEMM ceiling", kSmallLlama, bench_gemm},
      {"attention", "attention of 4 heads of 64 on 8192 tokens beside the GEMM ceiling", kAttention, bench_attention},
      {"ops", "the small Llama's other operators beside a copy in memory", kSmallLlama, bench_ops},
      {"step", "a training step of the small Llama beside the GEMM ceiling", kSmallLlama, bench_step, true},
      {"step-large", "the same of 130 million parameters", kLargeLlama, bench_step_large, true},
      {"rmt-step", "a training step of the small Llama with recurrent memory, activations kept and recomputed",
       kSmallRmt, bench_rmt_step, true},
      {"adapter-step", "low-rank updates trained on a frozen small Llama beside training all of it", kSmallAdapter,
       bench_adapter_step, true},
      {"uio-step", "a training step of the small Llama with compressed segments, all trained and on a frozen base",
       kSmallUio, bench_uio_step, true},
      {"length", "cost per token and peak memory of one sequence as it grows 16-fold (64K to 1M tokens)", kLongRmt,
       bench_length},
      {"uio-length", "the same where segments append what all later ones see (16K to 256K tokens)", kLongUio,
       bench_length},
      {"scaling", "a step on all ranks against one of them alone, beside the machine's own scaling (needs mpirun)",
       kRing, bench_scaling},
      {"wavefront", "the same for ARMT's segments, dealt to the ranks", kWavefront, bench_scaling},
      {"ring", "ring attention beside the same messages and products in turns (needs mpirun)", kRing, bench_ring},
      {"loader", "reading batches from a token file beside plain reads", kBatches, bench_loader},
  };
  return kAll;
}

const Benchmark& find_benchmark(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Benchmark& benchmark : benchmarks()) {
    if (benchmark.name == name) return benchmark;
    names.push_back(benchmark.name);
  }
  throw Error(ExitCode::Usage, fmt::format("unknown benchmark '{}'; expected one of {}", name, fmt::join(names, ", ")),
              fmt::format("Did you mean '{}'? `memring bench` says what each measures.", nearest(name, names)));
}

Spread spread_of(std::vector<double> values) {
  check(!values.empty(), "a spread of no values");
  std::sort(values.begin(), values.end());
  const size_t count = values.size();
  // Each value lies below the true median with probability 1/2, so how many do is binomial: the interval leaves out as
  // many values at either end as keep P(no more of them on that side) at 2.5 %.
  size_t outside = 0;
  double term = std::ldexp(1.0, -static_cast<int>(count)), tail = term;
  for (;; ++outside) {
    term *= static_cast<double>(count - outside) / static_cast<double>(outside + 1);
    if (tail + term > 0.025) break;
    tail += term;
  }
  return {(values[(count - 1) / 2] + values[count / 2]) / 2, values[outside], values[count - 1 - outside]};
}

bool Figure::missed() const {
  if (!budget) return false;
  return budget->kind == Budget::Kind::AtMost ? value.low > budget->value : value.high < budget->value;
}

std::string to_table(const BenchResult& result) {
  std::string text;
  for (const auto& [name, words] : result.setting) text += fmt::format("{:<10} {}\n", name, words);
  text += fmt::format("\n{:<42} {:>10} {:>23}\n", "", "median", "95 % interval");
  for (const Figure& figure : result.figures)
    text += fmt::format("{:<42} {:>10.4g} {:>23} {:<5} {}\n", figure.name, figure.value.median,
                        fmt::format("{:.4g} .. {:.4g}", figure.value.low, figure.value.high), figure.unit,
                        budget_text(figure));
  if (result.profile.empty()) return text;
  text += fmt::format("\n{:<36} {:>6} {:>9} {:>7} {:>8} {:>8} {:>8}\n", "one step of rank 0", "calls", "ms", "share",
                      "GF/s", "GB/s", "of roof");
  for (const ProfileLine& line : result.profile)
    text += fmt::format("{:<36} {:>6} {:>9.2f} {:>6.1f}% {:>8.1f} {:>8.1f} {:>7.0f}%\n", line.name, line.calls,
                        1e3 * line.seconds, line.share, line.gflops, line.gbytes, line.roof);
  return text;
}

std::string to_json(const Benchmark& benchmark, const BenchResult& result) {
  nlohmann::ordered_json json = {{"schema", 1},
                                 {"benchmark", benchmark.name},
                                 {"time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))}};
  for (const auto& [name, words] : result.setting) json["setting"][name] = words;
  json["figures"] = nlohmann::ordered_json::array();
  for (const Figure& figure : result.figures) {
    nlohmann::ordered_json line = {{"name", figure.name},
                                   {"unit", figure.unit},
                                   {"median", figure.value.median},
                                   {"low", figure.value.low},
                                   {"high", figure.value.high}};
    if (figure.budget) {
      line[figure.budget->kind == Budget::Kind::AtMost ? "at_most" : "at_least"] = figure.budget->value;
      line["missed"] = figure.missed();
    }
    json["figures"].push_back(std::move(line));
  }
  for (const ProfileLine& line : result.profile)
    json["profile"].push_back({{"name", line.name},
                               {"calls", line.calls},
                               {"seconds", line.seconds},
                               {"share", line.share},
                               {"gflops", line.gflops},
                               {"gbytes", line.gbytes},
                               {"roof", line.roof}});
  return json.dump(2) + "\n";
}

}  // namespace memring
