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
  return json.dump(2) + "\n";
}

}  // namespace memring
