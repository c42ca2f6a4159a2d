// Position ids that each sequence has of its own: what they mean, and that N ranks compute what one rank computes.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

/// Position ids of a segment's text from the plain ones.
using Ids = std::function<int32_t(int64_t sequence, int64_t segment, int32_t plain)>;

class PositionedTokens final : public RandomTokens {
 public:
  PositionedTokens(const Config& config, Ids ids)
      : RandomTokens(config.data.batch, sequence_shape(config), config.model.vocab), ids_(std::move(ids)) {}
  bool own_positions() const override { return true; }
  void positions(int64_t sequence, int64_t segment, std::span<int32_t> positions) const override {
    ASSERT_EQ(std::ssize(positions), shape().text_of(segment));
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = ids_(sequence, segment, static_cast<int32_t>(i));
  }

 private:
  Ids ids_;
};

int32_t scattered(int64_t sequence, int64_t segment, int32_t plain) {
  return plain * (2 + static_cast<int32_t>(sequence)) + (plain > 2 ? 40 + 7 * static_cast<int32_t>(segment) : 0);
}

struct Case {
  const char* name;
  void (*change)(Config&);
};
const Case kCases[] = {{"none",
                        [](Config& c) {
                          c.memory.kind = MemoryKind::None;
                          c.segment.length = 0;
                        }},
                       {"segments", [](Config& c) { c.memory.kind = MemoryKind::None; }},
                       {"rmt", [](Config&) {}},
                       {"rmt_recomputed", [](Config& c) { c.tbptt.recompute = RecomputeWhen::Always; }},
                       {"armt", armt}};

class Positions : public testing::TestWithParam<Case> {
 protected:
  static Config config() {
    Config c = small_config();
    GetParam().change(c);
    return c;
  }
  static void expect_close(const Result& found, const Result& expected, double tolerance, const std::string& what) {
    EXPECT_EQ(found.targets, expected.targets) << what;
    EXPECT_NEAR(found.nll / expected.nll, 1, tolerance) << what;
    EXPECT_LE(relative(found.gradients, expected.gradients), tolerance) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(All, Positions, testing::ValuesIn(kCases), [](const auto& c) { return c.param.name; });

TEST_P(Positions, PlainIdsHaveTheSameBitsAsNone) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  const Config c = config();
  const PositionedTokens tokens(c, [](int64_t, int64_t, int32_t plain) { return plain; });
  const Result found = run(c, alone, &tokens), expected = run(c, alone);
  EXPECT_EQ(found.nll, expected.nll);
  EXPECT_EQ(found.gradients, expected.gradients);
}

TEST_P(Positions, OfSequencesAreTheirOwn) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config c = config();
  const PositionedTokens all(c, scattered);
  const Result together = run(c, alone, &all);
  EXPECT_GT(relative(together.gradients, run(c, alone).gradients), 1e-3);  // they matter
  c.data.micro_batch = 1;
  expect_close(run(c, alone, &all), together, 1e-12, "one sequence at a time");
}

TEST_P(Positions, NRanksComputeWhatOneRankComputes) {
  Communicator& group = world();
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config c = config();
  const PositionedTokens tokens(c, scattered);
  for (const auto& [dtype, tolerance] : {std::pair{Precision::Fp64, 1e-9}, {Precision::Fp32, 2e-5}}) {
    c.device.dtype = dtype;
    c.mesh = {.data = 1, .segment = 1, .token = 1};
    const Result expected = run(c, alone, &tokens);
    for (const MeshConfig& mesh : meshes(group.size())) {
      c.mesh = mesh;
      expect_close(run(c, group, &tokens), expected, tolerance,
                   std::string(word_of(dtype)) + ", mesh " + text_of(mesh));
    }
  }
}

// Rotary angles make distances: where all ids move by as much, nothing else does. (A memory's rows stay.)
TEST(PositionIds, MatterByTheirDistances) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Config c = small_config();
  c.memory.kind = MemoryKind::None;
  const PositionedTokens here(c, scattered), there(c, [](int64_t sequence, int64_t segment, int32_t plain) {
    return 1000 + 100 * static_cast<int32_t>(sequence) + scattered(sequence, segment, plain);
  });
  const Result found = run(c, alone, &there), expected = run(c, alone, &here);
  EXPECT_NEAR(found.nll / expected.nll, 1, 1e-11);
  EXPECT_LE(relative(found.gradients, expected.gradients), 1e-9);
}

}  // namespace
}  // namespace memring
