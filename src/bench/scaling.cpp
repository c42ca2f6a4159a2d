// memring bench scaling: the step of a mesh against that of one of its ranks alone, held against what the machine's
// cores reach together on matrix products (DESIGN.md, section 10).
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "base/error.h"
#include "bench/bench.h"
#include "bench/training_job.h"
#include "bench/yardstick.h"

namespace memring {
namespace {

/// Seconds that `work` takes on rank 0 while the others sleep: a rank that waits in MPI would take a core. Collective;
/// rank 0's answer counts.
double seconds_alone(Communicator& world, const std::function<void()>& work) {
  world.barrier();
  const auto start = std::chrono::steady_clock::now();
  if (world.rank() == 0) work();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  world.barrier(std::chrono::milliseconds(2));
  return seconds.count();
}

}  // namespace

BenchResult bench_scaling(const Config& config, const BenchOptions& options, Session& session) {
  Communicator& world = session.world();
  expect_several_ranks(session, "scaling");
  Config one = config;
  one.mesh = {.data = 1, .segment = 1, .token = 1};
  Communicator mine = world.split(world.rank(), 0, "alone");
  const Queue queue(numerics(config, session.node()).queue);
  GemmCeiling gemm(queue);
  TrainingJob together(config, world, session.node());
  std::optional<TrainingJob> alone;  // the others leave the memory to rank 0
  if (world.rank() == 0) alone.emplace(one, mine, session.node());
  const auto step_alone = [&] { alone->step(); };
  const auto step_together = [&] { together.step(); };
  gemm.run();  // libraries choose their kernels
  seconds_alone(world, step_alone);
  step_together();

  std::vector<double> speedup, machine, share, tokens_per_s;
  const double tokens = static_cast<double>(config.data.batch * config.data.length);
  for (int64_t pair = 0; pair < options.pairs; ++pair) {
    const double gemm_alone = seconds_alone(world, [&] { gemm.run(); });
    const double gemm_together = seconds_of(world, [&] { gemm.run(); });
    const double time_alone = seconds_alone(world, step_alone);
    const double time_together = seconds_of(world, step_together);
    machine.push_back(world.size() * gemm_alone / gemm_together);
    speedup.push_back(time_alone / time_together);
    share.push_back(100 * speedup.back() / machine.back());
    tokens_per_s.push_back(tokens / time_together);
  }

  Engine& engine = together.engine();
  BenchResult result;
  result.setting = {{"model", fmt::format("{} layers of {}, memory {}, {} sequences of {} tokens in {} segments",
                                          config.model.layers, config.model.dim, word_of(config.memory.kind),
                                          config.data.batch, config.data.length, sequence_shape(config).segments())},
                    {"mesh", together.mesh()},
                    {"compute", fmt::format("{} threads a rank, {}, {}", engine.queue().threads(),
                                            name_of(engine.queue().isa()), word_of(engine.numerics().precision))},
                    {"pairs", fmt::format("{}", options.pairs)}};
  result.figures = {{"share of the machine's own scaling", "%", spread_of(share), Budget{Budget::Kind::AtLeast, 93}},
                    {"speedup over one rank", "", spread_of(speedup)},
                    {"machine: products on all ranks over one", "", spread_of(machine)},
                    {"speed", "tokens/s", spread_of(tokens_per_s)}};
  return result;
}

}  // namespace memring
