// What a schedule costs: slots, idle ranks, and the time to derive it, as the design says.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "schedule_cases.h"

namespace memring {
namespace {

// A second sweep for all but the last group's states, in exchange for states: every N-th, and those of a group.
TEST(ScheduleCost, ThinnedBoundariesHoldEveryNthStateAndOneGroup) {
  for (int32_t ranks : {1, 2}) {
    const auto states = [&](int32_t boundaries) {
      return derive({.ranks = ranks, .segments = 64, .policy = {.boundaries = boundaries}}, 0).slots(SlotKind::State);
    };
    EXPECT_GE(states(0), 64 / ranks - 2);
    EXPECT_LE(states(8), (64 / 8 + 8) / ranks + 5);
    int rebuilt = 0;
    for (const auto& actions : lists_of({.ranks = ranks, .segments = 64, .policy = {.boundaries = 8}}))
      for (const Action& a : actions) rebuilt += a.verb == Verb::Rebuild;
    EXPECT_EQ(rebuilt, 56);
  }
}

TEST(ScheduleCost, FullNeedsOneStatePerOwnSegmentAndOneSavedSlotPerStreamInFlight) {
  for (int32_t ranks : {1, 2, 3, 4}) {
    for (int32_t segments : {16, 17, 61}) {
      const Case shorter{.ranks = ranks, .segments = segments}, longer{.ranks = ranks, .segments = segments + ranks};
      for (int32_t rank = 0; rank < ranks; ++rank) {
        const Schedule s = derive(shorter, rank);
        const int32_t own = (segments - rank + ranks - 1) / ranks;
        EXPECT_LE(s.slots(SlotKind::State), own + 2) << describe(shorter) << ", rank " << rank;
        EXPECT_EQ(derive(longer, rank).slots(SlotKind::State), s.slots(SlotKind::State) + 1) << describe(shorter);
        EXPECT_EQ(s.slots(SlotKind::Saved), 1) << describe(shorter) << ", rank " << rank;
        EXPECT_LE(s.slots(SlotKind::Adjoint), 3) << describe(shorter) << ", rank " << rank;
        const Case many{.ranks = ranks, .streams = 9, .segments = segments, .policy = {.in_flight = 4}};
        EXPECT_LE(derive(many, rank).slots(SlotKind::Saved), 4) << describe(many);
        EXPECT_LE(derive(many, rank).slots(SlotKind::State), 4 * (own + 2)) << describe(many);
      }
    }
  }
}

TEST(ScheduleCost, WindowsNeedTheSameSlotsForAnyNumberOfSegments) {
  for (bool recompute : {true, false}) {
    for (int32_t ranks : {1, 2, 3, 4}) {
      for (int32_t window : {1, 2, 4, 7}) {
        Case c{.ranks = ranks, .segments = 16 * window * ranks, .window = window, .policy = {.recompute = recompute}};
        Case longer = c;
        longer.segments *= 16;
        const ScheduleTask a = task_of(c), b = task_of(longer);
        EXPECT_EQ(a.slots, b.slots) << describe(c);
        const int32_t own = (window + ranks - 1) / ranks;
        for (const auto& slots : a.slots) {
          EXPECT_LE(slots[0], (recompute ? own : 1) + 3) << describe(c);
          EXPECT_EQ(slots[2], recompute ? 1 : own) << describe(c);
        }
      }
    }
  }
}

TEST(ScheduleCost, EvaluationNeedsAFewStatesForAnyNumberOfSegments) {
  for (int32_t ranks : {1, 2, 4}) {
    for (int32_t segments : {8, 512}) {
      for (const auto& slots : task_of({.ranks = ranks, .segments = segments, .policy = {.backward = false}}).slots) {
        EXPECT_LE(slots[0], 3);
        EXPECT_EQ(slots[1] + slots[2], 0);
      }
    }
  }
}

TEST(ScheduleCost, KeepsNoMoreStreamsUnderWayThanAllowed) {
  for (int32_t in_flight : {1, 3}) {
    std::map<int32_t, int> left;  // streams begun: cells still to run
    size_t most = 0;
    const Lists lists = lists_of({.streams = 8, .segments = 6, .policy = {.recompute = false, .in_flight = in_flight}});
    for (const Action& a : lists[0]) {
      if (!computes(a)) continue;
      if (--left.try_emplace(a.cell.stream, 12).first->second == 0) left.erase(a.cell.stream);
      most = std::max(most, left.size() + (left.contains(a.cell.stream) ? 0 : 1));
    }
    EXPECT_EQ(most, static_cast<size_t>(in_flight));
  }
}

TEST(ScheduleCost, FillsTheRanksWithTwiceAsManyStreams) {
  for (bool recompute : {true, false}) {
    const double one = derive({.ranks = 2, .segments = 64, .policy = {.recompute = recompute}}, 0).efficiency();
    // Kept rows: strictly serial. With recompute the other rank recomputes meanwhile: 4 units of work in 3.
    EXPECT_NEAR(one, recompute ? 2.0 / 3 : 0.5, 0.015);
  }
  for (int32_t ranks : {2, 4, 8}) {
    for (int32_t segments : {16, 64, 256}) {
      Case c{.ranks = ranks, .streams = 2 * ranks, .segments = segments, .policy = {.in_flight = 2 * ranks}};
      const double efficiency = derive(c, 0).efficiency();
      for (int rank = 1; rank < ranks; ++rank) EXPECT_EQ(derive(c, rank).efficiency(), efficiency);
      c.policy.recompute = false;
      const double kept = derive(c, 0).efficiency();
      fmt::print("{} ranks, {} streams, {} segments: efficiency {:.3f} with recompute, {:.3f} kept\n", ranks, c.streams,
                 segments, efficiency, kept);
      EXPECT_GE(std::min(efficiency, kept), segments >= 64 ? 0.9 : 0.75) << describe(c);
    }
  }
}

// Free hand-over, backward twice forward: 1 / (1 + (ranks - 1) ranks / (depth segments)) for one window, and two
// windows in flight hide most of the ramps.
TEST(ScheduleCost, WavefrontFillsTheRanks) {
  for (bool recompute : {false, true}) {
    for (int32_t segments : {16, 32, 64, 128}) {
      const auto efficiency = [&](int32_t window, int32_t windows) {
        const Case c{.dependency = Dependency::LayerLocal,
                     .ranks = 8,
                     .segments = segments,
                     .window = window,
                     .policy = {.recompute = recompute, .windows = windows},
                     .depth = 32};
        return derive(c, 0).efficiency();
      };
      const double full = efficiency(0, 1), eight = efficiency(8, 2), alone = efficiency(8, 1);
      fmt::print(
          "8 ranks, 32 layers, {} segments{}: full {:.3f}; window 8: {:.3f} with two windows in flight, {:.3f} "
          "with one\n",
          segments, recompute ? ", recompute" : "", full, eight, alone);
      EXPECT_GE(std::min(full, eight), segments == 64 ? 0.97 : 0.85) << segments << ", recompute " << recompute;
      EXPECT_LT(alone, eight) << segments;
      if (!recompute) {
        EXPECT_NEAR(full, 1 / (1 + 7 * 8.0 / (32 * segments)), 1e-9);
      }
    }
  }
}

// A rank runs a segment's cells from the bottom to the top before the next segment's: hidden rows of one are held.
TEST(ScheduleCost, WavefrontHoldsOneSegmentsRowsAWindowAndOneStateACell) {
  for (int32_t ranks : {1, 2, 4}) {
    for (int32_t windows : {1, 2}) {
      const Case c{.dependency = Dependency::LayerLocal,
                   .ranks = ranks,
                   .segments = 64 * ranks,
                   .window = 4 * ranks,
                   .policy = {.windows = windows},
                   .depth = 8};
      Case longer = c;
      longer.segments *= 4;
      for (const auto& slots : task_of(c).slots) {
        EXPECT_LE(slots[static_cast<int>(SlotKind::Saved)], windows) << describe(c);
        EXPECT_LE(slots[static_cast<int>(SlotKind::Hidden)], 2 * windows) << describe(c);
        EXPECT_LE(slots[static_cast<int>(SlotKind::State)], windows * 4 * 8 + 8 + 2) << describe(c);
      }
      EXPECT_EQ(task_of(c).slots, task_of(longer).slots) << describe(c);
    }
  }
}

TEST(ScheduleCost, IsDerivedQuicklyAndHandedOutInBoundedWindows) {
  const auto begin = std::chrono::steady_clock::now();
  Schedule schedule = derive({.ranks = 8, .streams = 16, .segments = 4096, .policy = {.in_flight = 16}}, 3);
  EXPECT_GT(schedule.slots(SlotKind::State), 0);  // found by a walk
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  fmt::print("16 streams of 4096 segments on 8 ranks: derived in {:.3f} s\n", elapsed.count());
  EXPECT_LT(elapsed.count(), 10);  // guards against a hang, not a benchmark
  size_t most = 0, all = 0, least = 1;
  for (std::vector<Action> window; schedule.next_window(window);) {
    most = std::max(most, window.size());
    least = std::min(least, window.size());
    all += window.size();
  }
  EXPECT_LT(most, 512u);
  EXPECT_EQ(least, 1u);
  EXPECT_GT(all, 50000u);
}

// Memory is planned, and laid out, with every boundary open; random truncation closes some in each step.
TEST(ScheduleCost, ClosedBoundariesNeverNeedMoreSlotsOfOneRank) {
  for (int32_t segments : {1, 2, 5, 12})
    for (int32_t streams : {1, 4})
      for (bool recompute : {true, false}) {
        const auto derive = [&](std::vector<bool> closed) {
          return Schedule::derive(Dependency::TopToInput, {streams, segments, 2}, std::move(closed), {1, 1, 1}, {},
                                  {.recompute = recompute});
        };
        const Schedule open = derive({});
        for (uint32_t pattern = 0; pattern < 1u << (segments - 1); ++pattern) {
          std::vector<bool> closed(static_cast<size_t>(segments));
          for (int32_t s = 1; s < segments; ++s) closed[static_cast<size_t>(s)] = (pattern >> (s - 1)) & 1;
          const Schedule cut = derive(closed);
          for (const SlotKind kind : {SlotKind::State, SlotKind::Adjoint, SlotKind::Saved, SlotKind::Hidden})
            ASSERT_LE(cut.slots(kind), open.slots(kind))
                << segments << " segments, " << streams << " streams, pattern " << pattern << ", kind "
                << static_cast<int>(kind) << (recompute ? ", recompute" : "");
        }
      }
}

}  // namespace
}  // namespace memring
