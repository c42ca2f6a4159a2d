// Benchmarks: a name, a configuration and a function that measures. The frame repeats, takes medians with intervals,
// compares them with their budgets (DESIGN.md, section 10), and prints them for people and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "dist/session.h"

namespace memring {

/// The median of repeated measurements, and an interval that holds the true median with 95 % confidence whatever their
/// distribution (order statistics; fewer than six measurements: their whole range).
struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread spread_of(std::vector<double> values);

struct Budget {
  enum class Kind : uint8_t { AtMost, AtLeast } kind;
  double value;
};

/// One line of a benchmark's result.
struct Figure {
  std::string name, unit;
  Spread value;
  std::optional<Budget> budget{};
  /// The whole interval is on the wrong side of the budget: noise alone does not fail.
  bool missed() const;
};

/// An operator's part of one step on rank 0.
struct ProfileLine {
  std::string name;
  int64_t calls = 0;
  double seconds = 0, share = 0;  ///< share of the step's time, in percent
  double gflops = 0, gbytes = 0;  ///< per second; bytes are those of its operands, which caches may hold
  double roof = 0;                ///< percent of what the GEMM ceiling or a copy in memory allows
};

struct BenchResult {
  std::vector<std::pair<std::string, std::string>> setting;  ///< what was measured where, in words
  std::vector<Figure> figures;
  std::vector<ProfileLine> profile{};
};

struct BenchOptions {
  int64_t pairs = 9;     ///< interleaved measurements of a figure and its yardstick
  bool profile = false;  ///< also tell where the time of a step goes
};

struct Benchmark {
  std::string_view name, summary;
  std::string_view preset;  ///< ini text; the command line's keys change it
  /// Collective; rank 0's result counts.
  BenchResult (*run)(const Config&, const BenchOptions&, Session&);
  bool profiles = false;  ///< knows BenchOptions::profile
};

std::span<const Benchmark> benchmarks();
/// Throws Error(Usage) naming the nearest one when there is none of that name.
const Benchmark& find_benchmark(std::string_view name);

std::string to_table(const BenchResult&);
std::string to_json(const Benchmark&, const BenchResult&);

/// The benchmarks, one function each, in a file of that name.
BenchResult bench_checkpoint(const Config&, const BenchOptions&, Session&);
BenchResult bench_gemm(const Config&, const BenchOptions&, Session&);
BenchResult bench_attention(const Config&, const BenchOptions&, Session&);
BenchResult bench_ops(const Config&, const BenchOptions&, Session&);
BenchResult bench_uio_step(const Config&, const BenchOptions&, Session&);
BenchResult bench_length(const Config&, const BenchOptions&, Session&);
BenchResult bench_ring(const Config&, const BenchOptions&, Session&);
BenchResult bench_scaling(const Config&, const BenchOptions&, Session&);
BenchResult bench_loader(const Config&, const BenchOptions&, Session&);
BenchResult bench_step(const Config&, const BenchOptions&, Session&);
BenchResult bench_step_large(const Config&, const BenchOptions&, Session&);
BenchResult bench_rmt_step(const Config&, const BenchOptions&, Session&);
BenchResult bench_adapter_step(const Config&, const BenchOptions&, Session&);

}  // namespace memring
