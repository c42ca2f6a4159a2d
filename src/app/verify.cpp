// memring verify: fixtures of an independent reference, computed on this machine, backend and mesh.
// SPDX-License-Identifier: Apache-2.0
#include "eval/verify.h"
#include "base/error.h"

#include "app/command.h"
#include "app/with_session.h"
#include "dist/separate_start.h"
#include "eval/verify_samplers.h"

namespace memring {
int run_verify(const CommandLine& line) {
  return with_session(line.argc, line.argv, [&](Session& session) {
    refuse_separate_start(session);
    const Tolerances tolerances{line.number("loss-tolerance"), line.number("state-tolerance"),
                                line.number("gradient-tolerance")};
    int failed = 0;
    for (const std::string& path : line.arguments) {
      const Verification result = [&] {
        if (fixture_format(path) == kSamplersFormat) return verify_samplers(path);
        const Fixture fixture = read_fixture(path);
        const Config config = parse_config(fixture.config, path + " (config)", line.overrides);
        return verify_fixture(fixture, config, tolerances, session);
      }();
      failed += !result.passed();
      if (session.rank() != 0) continue;
      fmt::print("{} {} ({})\n", result.passed() ? "pass" : "FAIL", path, result.setting);
      for (const Comparison& c : result.comparisons)
        fmt::print("  {:<10} {} {:.2e}, at most {:.0e}{}\n", c.quantity, c.measure, c.error, c.tolerance,
                   c.passed() ? "" : "  <-- too large");
      if (!result.passed() && !result.worst_gradient.empty())
        fmt::print("  largest error of one gradient: {} ({:.2e})\n", result.worst_gradient, result.worst_error);
    }
    if (session.rank() == 0 && failed) fmt::print("{} of {} fixtures failed\n", failed, line.arguments.size());
    return failed ? static_cast<int>(ExitCode::Mismatch) : 0;
  });
}

}  // namespace memring
