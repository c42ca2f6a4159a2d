// The schedule's promises: every case of a broad sweep passes the validator; which cells run, and what ranks have in
// common. (What a schedule costs: schedule_cost_test.cpp.)
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.h"
#include "schedule_cases.h"

namespace memring {
namespace {

// With messages either way: validate() also runs those in order as lanes do.
void expect_valid(const Case& c, int64_t& cases) {
  for (const Messages messages : {Messages::Buffered, Messages::InOrder}) {
    if (messages == Messages::InOrder && c.ranks == 1) continue;
    Case with = c;
    with.policy.messages = messages;
    auto schedules = derive_all(with);
    const auto faults = validate(schedules);
    ASSERT_TRUE(faults.empty()) << describe(with) << "\n" << joined(faults);
  }
  ++cases;
}

TEST(Schedule, IsValidForAllSmallShapesAndPolicies) {
  int64_t cases = 0;
  for (Dependency dependency : {Dependency::None, Dependency::TopToInput})
    for (int32_t ranks = 1; ranks <= 6; ++ranks)
      for (int32_t streams = 1; streams <= 5; ++streams)
        for (int32_t segments = 1; segments <= 17; ++segments)
          for (int32_t window : {0, 1, 2, 3, 5})
            for (int32_t in_flight = 1; in_flight <= 8; ++in_flight)
              for (int policy = 0; policy < 6; ++policy) {
                if (in_flight > streams && in_flight < 8) continue;          // the same as in_flight = streams
                if (window > 0 && dependency == Dependency::None) continue;  // has no boundaries to close
                const bool backward = policy < 4;
                if (window > 0 && (!backward || window >= segments)) continue;  // the same as full
                const Policy p{backward, policy % 4 < 2, policy % 2 == 1, in_flight};
                expect_valid({dependency, ranks, streams, segments, window, p}, cases);
                if (HasFatalFailure()) return;
              }
  EXPECT_GT(cases, 20000);
}

TEST(Schedule, IsValidForAllSmallWavefronts) {
  int64_t cases = 0;
  for (int32_t depth : {1, 2, 3, 7})
    for (int32_t ranks = 1; ranks <= 6; ++ranks)
      for (int32_t streams : {1, 2, 3})
        for (int32_t segments = 1; segments <= 14; ++segments)
          for (int32_t window : {0, 1, 2, 3, 5})
            for (int32_t windows : {1, 2, 3})
              for (int policy = 0; policy < 6; ++policy) {
                const bool backward = policy < 4;
                if (window > 0 && (!backward || window >= segments)) continue;  // the same as full
                if (window == 0 && windows > 1) continue;                       // the same as 1
                const Policy p{backward, policy % 4 < 2, policy % 2 == 1, std::min(streams, 2), windows};
                expect_valid({Dependency::LayerLocal, ranks, streams, segments, window, p, depth}, cases);
                if (HasFatalFailure()) return;
              }
  EXPECT_GT(cases, 20000);
}

TEST(Schedule, IsValidWithThinnedBoundaries) {
  int64_t cases = 0;
  for (int32_t depth : {1, 3})
    for (int32_t ranks = 1; ranks <= 5; ++ranks)
      for (int32_t streams : {1, 2, 3})
        for (int32_t segments = 1; segments <= 17; ++segments)
          for (int32_t window : {0, 7, 9})
            for (int32_t windows : {1, 2})
              for (int32_t boundaries : {1, 2, 3, 4, 6}) {
                if (window >= segments || boundaries > segments) continue;
                const Policy p{
                    .final_state = streams == 2, .in_flight = 2, .windows = windows, .boundaries = boundaries};
                expect_valid({Dependency::LayerLocal, ranks, streams, segments, window, p, depth}, cases);
                if (HasFatalFailure()) return;
              }
  EXPECT_GT(cases, 2000);
}

TEST(Schedule, IsValidForIrregularBoundariesAndLongChains) {
  for (int ranks : {1, 3, 8}) {
    for (bool recompute : {true, false}) {
      std::vector<bool> closed(600, false);
      for (int s = 1; s < 600; ++s) closed[s] = (s * s) % 7 == 1 || (s > 100 && s < 130);
      for (const Messages messages : {Messages::Buffered, Messages::InOrder}) {
        const Policy policy{.recompute = recompute, .in_flight = 4, .messages = messages};
        std::vector<Schedule> schedules;
        for (int rank = 0; rank < ranks; ++rank)
          schedules.push_back(
              Schedule::derive(Dependency::TopToInput, {9, 600, 2}, closed, {1, ranks, 1}, {0, rank, 0}, policy));
        EXPECT_EQ(joined(validate(schedules)), "") << ranks << " ranks";
      }
    }
  }
}

// But for Recompute: each rank keeps the rows of its last segment of a window.
TEST(Schedule, RanksTogetherRunTheCellsOfOneRank) {
  for (int32_t window : {0, 3}) {
    for (int32_t depth : {1, 4}) {
      for (Policy policy : {Policy{.in_flight = 3}, {.recompute = false, .in_flight = 3}, {.backward = false}}) {
        const auto cells = [&](int32_t ranks) {
          std::multiset<std::tuple<Verb, int32_t, int32_t, int32_t>> all;
          for (const auto& actions : lists_of({.dependency = Dependency::LayerLocal,
                                     .ranks = ranks,
                                     .streams = 3,
                                     .segments = 11,
                                     .window = window,
                                     .policy = policy,
                                     .depth = depth})) {
            for (const Action& a : actions) {
              if (a.verb == Verb::Forward || a.verb == Verb::Backward)
                all.emplace(a.verb, a.cell.stream, a.cell.segment, a.cell.layer);
            }
          }
          return all;
        };
        for (int32_t ranks = 2; ranks <= 6; ++ranks) EXPECT_EQ(cells(1), cells(ranks)) << ranks << " ranks";
      }
    }
  }
}

TEST(Schedule, RecomputesAllButEachRanksLastSegmentOfAWindow) {
  for (int32_t window : {0, 3, 8}) {
    for (int32_t ranks : {1, 2, 4}) {
      int recomputed = 0;
      const Case c{.dependency = Dependency::LayerLocal, .ranks = ranks, .segments = 16, .window = window, .depth = 2};
      for (const auto& actions : lists_of(c))
        for (const Action& a : actions) recomputed += a.verb == Verb::Recompute;
      int expected = 0;
      for (int32_t begin = 0, length = window > 0 ? window : 16; begin < 16; begin += length)
        expected += std::max(0, std::min(length, 16 - begin) - ranks);
      EXPECT_EQ(recomputed, 2 * expected) << describe(c);
    }
  }
}

TEST(Schedule, OneRankSendsNothingAndARankWithoutSegmentsOnlyReduces) {
  const Lists lists = lists_of({.streams = 3, .segments = 6, .window = 4, .policy = {.in_flight = 2}});
  for (const Action& a : lists[0]) {
    EXPECT_FALSE(travels(a)) << describe(a);
  }
  const Lists few = lists_of({.ranks = 3, .segments = 2});
  for (const Action& a : few[2]) EXPECT_EQ(a.verb, Verb::Reduce) << describe(a);
}

/// "-1..4", the layers of each Reduce.
std::vector<std::string> reduced(const std::vector<Action>& actions) {
  std::vector<std::string> layers;
  for (const Action& a : actions)
    if (a.verb == Verb::Reduce) layers.push_back(fmt::format("{}..{}", a.cell.layer, a.cell.layer + a.cell.layers - 1));
  return layers;
}

// Gradients are summed over the world, whose data ranks may have other numbers of streams, or none.
TEST(Schedule, ReducesTheSameLayersInTheSameOrderOnEveryRank) {
  const auto expect = [](Case c, const std::vector<std::string>& layers) {
    for (const int32_t ranks : {1, 2, 5})
      for (const int32_t streams : {0, 1, 3}) {
        c.ranks = ranks;
        c.streams = streams;
        for (const auto& actions : lists_of(c)) EXPECT_EQ(reduced(actions), layers) << describe(c);
      }
  };
  for (const int32_t segments : {1, 4}) {
    expect({.segments = segments}, {"-1..2"});
    expect({.segments = segments, .policy = {.parts = 8}}, {"1..2", "-1..0"});
    expect({.dependency = Dependency::LayerLocal, .segments = segments, .depth = 3}, {"2..3", "1..1", "-1..0"});
    expect({.segments = segments, .policy = {.backward = false}}, {});
  }
}

// The parts of the last backward, each with its Reduce, so that one travels while the next is computed.
TEST(Schedule, CutsTheLastBackwardOfACellIntoParts) {
  const Lists lists = lists_of({.ranks = 2, .segments = 3, .policy = {.parts = 2}});
  std::vector<std::string> end;
  for (const Action& a : lists[0])
    if (a.verb == Verb::Backward || a.verb == Verb::Reduce) end.push_back(describe(a));
  const std::vector<std::string> expected{
      "Backward stream 0 segment 2 layers -1..2 out Adjoint 0 saved 0 hidden 0",
      "Backward stream 0 segment 0 layers 1..2 in Adjoint 1 saved 0 hidden 0", "Reduce layers 1..2",
      "Backward stream 0 segment 0 layers -1..0 in Adjoint 1 saved 0 hidden 0", "Reduce layers -1..0"};
  EXPECT_EQ(joined(end), joined(expected));
}

TEST(Schedule, RestartGivesTheSameActions) {
  for (const Case& c : small_cases()) {
    for (Schedule& schedule : derive_all(c)) {
      const auto first = actions_of(schedule);
      schedule.restart();
      std::vector<Action> some;
      schedule.next_actions(some);
      schedule.restart();  // half way
      EXPECT_EQ(first, actions_of(schedule)) << describe(c);
      EXPECT_FALSE(schedule.next_actions(some));
      EXPECT_TRUE(some.empty());
    }
  }
}

// One tag more than there are, and a message would be taken for another.
TEST(Schedule, UsesTheTagsThatThereAreAndNoMore) {
  const int32_t most = Schedule::most_cells_under_way();
  int32_t highest = -1;
  for (const bool deep : {false, true}) {
    const Dependency dependency = deep ? Dependency::LayerLocal : Dependency::TopToInput;
    const auto derive_with = [&](int32_t cells) {
      const Extent extent{deep ? 1 : cells, 2, cells, deep ? cells : 1};
      Policy policy;
      if (!deep) policy.in_flight = cells;
      return Schedule::derive(dependency, extent, {false, false}, {1, 2, 1}, {}, policy);
    };
    Schedule schedule = derive_with(most);
    for (std::vector<Action> some; schedule.next_actions(some);)
      for (const Action& action : some) highest = std::max(highest, action.tag);
    EXPECT_THROW(derive_with(most + 1), Error);
  }
  EXPECT_LT(highest, kTags);
  EXPECT_GE(highest, kTags - 3);
}

TEST(Schedule, WhatIsNotBuiltIsAUsageError) {
  const auto code = [](Dependency dependency, MeshShape mesh) {
    try {
      Schedule::derive(dependency, {1, 4, 2}, {}, mesh, {}, {});
    } catch (const Error& error) {
      EXPECT_FALSE(error.hint().empty());
      return error.code();
    }
    return ExitCode::Done;
  };
  for (Dependency d : {Dependency::Affine}) {
    EXPECT_EQ(code(d, {1, 2, 1}), ExitCode::Usage);
  }
  EXPECT_EQ(code(Dependency::TopToInput, {3, 2, 1}), ExitCode::Done);
}

}  // namespace
}  // namespace memring
