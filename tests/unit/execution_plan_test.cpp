// Execution plans without ranks: each rank's own, and that those of a mesh belong together.
// SPDX-License-Identifier: Apache-2.0
#include "engine/execution_plan.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace memring {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// What plans follow from, of a small model on 64 ranks whose axes divide nothing evenly.
struct Case {
  MemoryKind kind;
  MeshShape mesh{4, 4, 4};
  Recompute recompute{};
  Tbptt tbptt = Tbptt::full();
  Workload workload{.batch = 10, .shapes = {{50, 23}, {401, 23}}};
  ModelShape model{.layers = 3, .dim = 16, .heads = 4, .kv_heads = 2, .head_dim = 4, .ffn = 24, .vocab = 23};
  DType dtype = DType::F32;
  Queue::Options numerics{};
  Params params{};
  Llama llama{model, params};
  std::unique_ptr<Memory> memory = make_memory({.kind = kind,
                                                .tokens = kind == MemoryKind::Uio ? 1 : 3,  // a divisor of a segment's
                                                .key_dim = 4,
                                                .segment_length = 23},
                                               llama, params);

  explicit Case(MemoryKind memory_kind) : kind(memory_kind) {}

  ExecutionPlan plan(int rank, int64_t limit = kNoLimit) const {
    const PlanInputs inputs{model, *memory, params.layout(), dtype, numerics, workload, tbptt, recompute, mesh};
    return plan_execution(inputs, coord_of(mesh, rank), limit);
  }
  std::vector<ExecutionPlan> plans(int64_t limit = kNoLimit) const {
    std::vector<ExecutionPlan> all;
    for (int rank = 0; rank < mesh.world(); ++rank) all.push_back(plan(rank, limit));
    return all;
  }
};

class ExecutionPlans : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, ExecutionPlans,
                         testing::Values(MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Uio,
                                         MemoryKind::Halo));

TEST_P(ExecutionPlans, OfRank17Of64IsMadeWithoutRanks) {
  Case c(GetParam());
  c.numerics.products = Products::Bf16;  // which takes something for each purpose
  const ExecutionPlan plan = c.plan(17);
  EXPECT_EQ(rank_of(plan.mesh, plan.coord), 17);
  EXPECT_EQ(plan.sequences, (Range{3, 6}));  // 10 sequences over 4 data coordinates: 3, 3, 2, 2
  for (const MemoryPart& part : plan.memory.parts) {
    EXPECT_TRUE(part.count == 0 || part.host > 0) << name_of(part.purpose);
    EXPECT_EQ(part.device, 0) << name_of(part.purpose);
  }
}

TEST_P(ExecutionPlans, OfAllRanksAgreeInWhatTheyShare) {
  const Case c(GetParam());
  const int64_t kept = c.plan(0).most_bytes;
  for (const int64_t limit : {kNoLimit, kept - 1, kept / 3, int64_t{0}}) {
    const std::vector<ExecutionPlan> plans = c.plans(limit);
    int64_t most = 0;
    for (const ExecutionPlan& plan : plans) {
      const std::string where = fmt::format("rank {}, limit {}", rank_of(plan.mesh, plan.coord), limit);
      const ExecutionPlan& first = plans.front();
      const ExecutionPlan& group = plans[static_cast<size_t>(rank_of(c.mesh, {plan.coord.data, 0, 0}))];
      EXPECT_EQ(plan.micro_batch, first.micro_batch) << where;
      EXPECT_EQ(plan.depth, first.depth) << where;
      EXPECT_EQ(plan.policy.recompute, first.policy.recompute) << where;
      EXPECT_EQ(plan.policy.in_flight, first.policy.in_flight) << where;
      EXPECT_EQ(plan.policy.parts, first.policy.parts) << where;
      EXPECT_EQ(plan.most_bytes, first.most_bytes) << where;
      EXPECT_EQ(plan.most_rank, first.most_rank) << where;
      EXPECT_EQ(plan.sequences, group.sequences) << where;
      EXPECT_EQ(plan.streams, group.streams) << where;
      EXPECT_EQ(plan.policy.windows, group.policy.windows) << where;
      EXPECT_EQ(plan.efficiency, group.efficiency) << where;
      most = std::max(most, plan.memory.total());
    }
    EXPECT_EQ(plans.front().most_bytes, most);
    EXPECT_EQ(plans[static_cast<size_t>(plans.front().most_rank)].memory.total(), most);
  }
}

TEST_P(ExecutionPlans, SchedulesOfASegmentAxisAreValidTogetherAndHaveTheirSlots) {
  const Case c(GetParam());
  const std::vector<bool> closed = c.tbptt.always_closed(c.workload.shapes.back().segments());
  std::vector<Schedule> schedules, in_order;
  for (int segment = 0; segment < c.mesh.segment; ++segment) {
    ExecutionPlan plan = c.plan(rank_of(c.mesh, {2, segment, 1}));
    const Schedule& schedule = schedules.emplace_back(plan.schedule(closed));
    EXPECT_EQ(plan.efficiency, schedule.efficiency());
    for (int kind = 0; kind < kSlotKinds; ++kind)
      EXPECT_EQ(plan.memory.parts[static_cast<size_t>(kind)].count, schedule.slots(static_cast<SlotKind>(kind)))
          << "segment " << segment << ", " << name_of(static_cast<SlotKind>(kind));
    plan.policy.messages = Messages::InOrder;
    in_order.push_back(plan.schedule(closed));
  }
  EXPECT_EQ(validate(schedules), std::vector<std::string>());
  EXPECT_EQ(validate(in_order), std::vector<std::string>()) << "messages in order";
}

// run.deterministic = strict. Terms of a whole gradient in fp64; 64 rows of it on each of two threads in fp32.
TEST(ExecutionPlan, CountsTheTermsOfExactSums) {
  Case c(MemoryKind::Rmt);
  c.params.declare("largest", {100, 7}, {}, true);
  c.params.declare("gain", {16}, {}, false);
  c.mesh = {};
  c.numerics.block = 64;
  c.numerics.threads = 2;
  const auto products = [&] { return c.plan(0).memory.bytes_of(MemoryPurpose::Products); };
  c.dtype = DType::F64;  // which copies no operands
  EXPECT_EQ(products(), 100 * 7 * 8);
  c.workload.backward = false;
  EXPECT_EQ(products(), 0);
  c.workload.backward = true;
  c.dtype = DType::F32;
  const int64_t exact = products();
  c.numerics.block = 0;
  EXPECT_EQ(exact, products() + 2 * 64 * 7 * 4);
}

// Activations kept, then recomputed, and then the same with smaller streams.
TEST_P(ExecutionPlans, TakeTheFirstChoiceThatFitsEveryRank) {
  Case c(GetParam());
  c.workload.batch = 40;
  struct Choice {
    int64_t micro_batch;
    bool recompute;
    int64_t most_bytes;
  };
  std::vector<Choice> choices;
  Case forced(GetParam());
  forced.workload.batch = c.workload.batch;
  for (int64_t size = c.plan(17).micro_batch; choices.empty() || choices.back().micro_batch > 1; size = (size + 1) / 2)
    for (const RecomputeWhen when : {RecomputeWhen::Never, RecomputeWhen::Always}) {
      forced.workload.micro_batch = size;
      forced.recompute.when = when;
      choices.push_back({size, when == RecomputeWhen::Always, forced.plan(17).most_bytes});
    }
  ASSERT_GE(choices.size(), 4) << "two sizes of streams";
  const int64_t least = std::min_element(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
                          return a.most_bytes < b.most_bytes;
                        })->most_bytes;
  for (const Choice& choice : choices)
    for (const int64_t limit : {choice.most_bytes, std::max(choice.most_bytes - 1, least)}) {
      const auto first =
          std::find_if(choices.begin(), choices.end(), [&](const Choice& a) { return a.most_bytes <= limit; });
      const ExecutionPlan plan = c.plan(17, limit);
      EXPECT_EQ(plan.micro_batch, first->micro_batch) << limit;
      EXPECT_EQ(plan.policy.recompute, first->recompute) << limit;
      EXPECT_EQ(plan.most_bytes, first->most_bytes) << limit;
    }
}

// Behind all of these: fewer states, where they are what crosses a boundary.
TEST_P(ExecutionPlans, KeepFewerStatesBeforeTheyGiveUp) {
  Case c(GetParam());
  c.workload.micro_batch = 1;
  const auto forced = [&](int32_t boundaries) {
    Case of(GetParam());
    of.workload.micro_batch = 1;
    of.recompute = {RecomputeWhen::Always, boundaries};
    return of.plan(17).most_bytes;
  };
  const int64_t all = forced(0);
  const bool states = GetParam() != MemoryKind::None && GetParam() != MemoryKind::Uio;
  EXPECT_EQ(c.plan(17, all).policy.boundaries, 0);
  const ExecutionPlan tight = c.plan(17, all - 1);
  EXPECT_EQ(tight.policy.boundaries > 0, states);
  EXPECT_EQ(tight.most_bytes < all, states);
  EXPECT_EQ(tight.most_bytes, forced(tight.policy.boundaries));
  int64_t least = all;
  for (int32_t every = 2; states && every < c.workload.shapes.back().segments(); every *= 2) {
    if (every < tight.policy.boundaries) {
      EXPECT_GE(forced(every), all) << every << " fits too";
    }
    least = std::min(least, forced(every));
  }
  EXPECT_EQ(c.plan(17, 0).most_bytes, least) << "what does not fit is told";
  c.recompute.boundaries = 1;
  EXPECT_EQ(c.plan(17, 0).policy.boundaries, GetParam() == MemoryKind::Uio ? 0 : 1) << "as it is asked for";
}

TEST(ExecutionPlan, KeepsToWhatIsAskedFor) {
  Case c(MemoryKind::Rmt);
  c.recompute.when = RecomputeWhen::Never;
  c.workload.micro_batch = 2;
  const ExecutionPlan plan = c.plan(17, 0);
  EXPECT_FALSE(plan.policy.recompute);
  EXPECT_EQ(plan.micro_batch, 2);
  c.recompute = {RecomputeWhen::Always, 5};
  EXPECT_TRUE(c.plan(17).policy.recompute);
  EXPECT_EQ(c.plan(17).policy.boundaries, 5);
}

}  // namespace
}  // namespace memring
