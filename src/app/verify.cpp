// memring verify: fixtures of an independent reference, computed on this machine, backend and mesh, and values that the
// programs of others computed.
// SPDX-License-Identifier: Apache-2.0
#include "eval/verify.h"
#include "base/error.h"

#include "app/command.h"
#include "app/with_session.h"
#include "dist/separate_start.h"
#include "eval/verify_rope.h"
#include "eval/verify_samplers.h"

namespace memring {
namespace {

/// Files that hold what the programs of others computed, by their attribute "format"; all others are fixtures.
struct PeerFormat {
  std::string_view name;
  Verification (*verify)(const std::string& path);
};
constexpr PeerFormat kPeerFormats[] = {{kRopeFormat, verify_rope}, {kSamplersFormat, verify_samplers}};

Verification verify(const std::string& path, const CommandLine& line, Session& session) {
  const std::string format = fixture_format(path);
  for (const PeerFormat& peer : kPeerFormats)
    if (format == peer.name) return peer.verify(path);
  const Tolerances tolerances{line.number("loss-tolerance"), line.number("state-tolerance"),
                              line.number("gradient-tolerance")};
  const Fixture fixture = read_fixture(path);
  Config config = parse_config(fixture.config, path + " (config)", line.overrides);
  if (fixture.draw) {  // whatever its config says of gradients
    config.tbptt.mode = TbpttMode::Unbiased;
    config.tbptt.window = fixture.draw->places;
  }
  return verify_fixture(fixture, config, tolerances, session);
}

}  // namespace

int run_verify(const CommandLine& line) {
  return with_session(line.argc, line.argv, [&](Session& session) {
    refuse_separate_start(session);
    int failed = 0;
    for (const std::string& path : line.arguments) {
      const Verification result = verify(path, line, session);
      failed += !result.passed();
      if (session.rank() != 0) continue;
      fmt::print("{} {} ({})\n", result.passed() ? "pass" : "FAIL", path, result.setting);
      for (const Comparison& c : result.comparisons)
        fmt::print("  {:<10} {} {:.2e}, at most {:.0e}{}\n", c.quantity, c.measure, c.error, c.tolerance,
                   c.passed() ? "" : "  <-- too large");
      if (!result.passed() && !result.worst_gradient.empty())
        fmt::print("  largest error of one gradient: {} ({:.2e})\n", result.worst_gradient, result.worst_error);
    }
    if (session.rank() == 0 && failed) fmt::print("{} of {} files failed\n", failed, line.arguments.size());
    return failed ? static_cast<int>(ExitCode::Mismatch) : 0;
  });
}

}  // namespace memring
