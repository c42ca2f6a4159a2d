// memring bench: measures a part of memring beside its yardstick.
// SPDX-License-Identifier: Apache-2.0
#include "bench/bench.h"
#include "base/error.h"

#include <cmath>

#include "app/command.h"
#include "app/host.h"
#include "app/result_file.h"
#include "app/with_session.h"
#include "base/version.h"

namespace memring {
namespace {

int list_benchmarks() {
  for (const Benchmark& benchmark : benchmarks()) fmt::print("{:<14}{}\n", benchmark.name, benchmark.summary);
  return 0;
}

int64_t pairs_of(const CommandLine& line) {
  const double pairs = line.number("pairs");
  if (pairs < 1 || pairs > 1e6 || pairs != std::floor(pairs))
    throw Error(ExitCode::Usage, fmt::format("memring bench: --pairs = {} is no number of pairs", line.text("pairs")),
                "Give a whole number, 1 or more; 9 or more make a figure to rely on.");
  return static_cast<int64_t>(pairs);
}

/// Operands, yardsticks and clocks of the benchmarks are the host's.
void refuse_device(const Config& config) {
  if (config.device.kind != DeviceKind::Cuda) return;
  throw Error(ExitCode::Usage, "memring bench measures on the CPU, and device.kind = cuda",
              "Leave out device.kind; what a step takes on a device, the log of memring train tells.");
}

}  // namespace

int run_bench(const CommandLine& line) {
  if (line.arguments.empty()) return list_benchmarks();
  return with_session(line.argc, line.argv, [&](Session& session) {
    const Benchmark& benchmark = find_benchmark(line.arguments[0]);
    const BenchOptions options{.pairs = pairs_of(line), .profile = line.given("profile")};
    if (options.profile && !benchmark.profiles)
      throw Error(ExitCode::Usage, fmt::format("memring bench {} has no profile to show", benchmark.name),
                  "Leave out --profile, or profile a training step: memring bench step --profile");
    const Config config = parse_config(benchmark.preset, fmt::format("bench {}", benchmark.name), line.overrides);
    refuse_device(config);
    const std::string& path = line.text("json");
    if (session.rank() == 0) expect_writable(path);
    BenchResult result = benchmark.run(config, options, session);
    if (session.rank() != 0) return 0;
    result.setting.insert(result.setting.begin(),
                          {{"benchmark", fmt::format("{}, memring {}", benchmark.name, version())},
                           {"machine", fmt::format("{}, {} of {} cores, {}", cpu_name(), session.node().cores,
                                                   session.node().ranks * session.node().cores, session.host())},
                           {"ranks", fmt::format("{}", session.size())}});
    fmt::print("{}", to_table(result));
    write_result(path, to_json(benchmark, result));
    const bool missed =
        std::any_of(result.figures.begin(), result.figures.end(), [](const Figure& figure) { return figure.missed(); });
    return static_cast<int>(missed ? ExitCode::Mismatch : ExitCode::Done);
  });
}

}  // namespace memring
