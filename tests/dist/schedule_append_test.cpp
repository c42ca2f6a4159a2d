// The schedule of Append: encodes and decodes of a stream over ranks that hold its memories and sum their adjoints.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "schedule_cases.h"

namespace memring {
namespace {

Case append(int32_t ranks, int32_t segments, Policy policy = {}) {
  return {.dependency = Dependency::Append, .ranks = ranks, .segments = segments, .policy = policy};
}

/// Training with recompute and without, and evaluation; streams alone and in flight; messages both ways.
std::vector<Case> many_cases() {
  std::vector<Case> cases;
  for (int32_t ranks = 1; ranks <= 4; ++ranks)
    for (int32_t segments = 1; segments <= 9; ++segments)
      for (int32_t streams = 1; streams <= 3; ++streams)
        for (int32_t in_flight = 1; in_flight <= std::min(streams, 2); ++in_flight)
          for (int policy = 0; policy < 3; ++policy)
            for (const Messages messages : {Messages::Buffered, Messages::InOrder}) {
              cases.push_back(append(ranks, segments,
                                     {.backward = policy < 2,
                                      .recompute = policy == 0,
                                      .in_flight = in_flight,
                                      .parts = streams,
                                      .messages = messages}));
              cases.back().streams = streams;
            }
  return cases;
}

TEST(ScheduleAppend, IsValidForAllSmallShapesAndPolicies) {
  const std::vector<Case> cases = many_cases();
  ASSERT_EQ(cases.size(), 1080u);
  for (const Case& c : cases) {
    std::vector<Schedule> ranks = derive_all(c);
    EXPECT_EQ(joined(validate(ranks)), "") << describe(c);  // in order: as lanes do as well
  }
}

// A rank holds the memories of all segments before the last that it decodes, and its own last one until that is sent.
TEST(ScheduleAppend, HoldsAsManySlotsAsMemoriesAndOneDecode) {
  for (const Case& c : many_cases())
    for (const int32_t rank : {0, c.ranks - 1}) {
      const Schedule schedule = derive(c, rank);
      const int32_t own = (c.segments - rank + c.ranks - 1) / c.ranks, last = rank + (own - 1) * c.ranks;
      const bool encodes_last = own > 0 && last < c.segments - 1;
      const auto expect = [&](SlotKind kind, int32_t least, int32_t most) {
        EXPECT_GE(schedule.slots(kind), least) << describe(c) << ", rank " << rank << ", " << name_of(kind);
        EXPECT_LE(schedule.slots(kind), c.policy.in_flight * most) << describe(c) << ", rank " << rank;
      };
      const int32_t states = own == 0 ? 0 : last + encodes_last, kept = own + encodes_last;
      const int32_t rows = own == 0 || !c.policy.backward ? 0 : c.policy.recompute ? 1 : kept;
      EXPECT_LE(states, c.segments - 1);
      expect(SlotKind::State, states, states);
      expect(SlotKind::Saved, rows, rows);
      if (own == 0 || !c.policy.backward)
        expect(SlotKind::Adjoint, 0, 0);
      else
        expect(SlotKind::Adjoint, last, c.segments - 1 + c.ranks - 1);  // and a part of each other rank
    }
}

// All ranks encode at the same time: if one waited for the segment in front, they would in turn.
TEST(ScheduleAppend, FillsTheRanks) {
  for (const int32_t ranks : {2, 4, 8})
    for (int policy = 0; policy < 3; ++policy) {
      const Case c = append(ranks, 64, {.backward = policy < 2, .recompute = policy == 0});
      EXPECT_GT(derive(c, 0).efficiency(), 0.99) << describe(c);
    }
}

/// What is done: "Forward e0", "Send M0 1" (memory of segment 0, to rank 1), "Add A0", without the rows' slots.
std::string brief(const std::vector<Action>& actions) {
  std::vector<std::string> words;
  for (const Action& a : actions) {
    if (a.verb == Verb::Free && a.kind != SlotKind::State && a.kind != SlotKind::Adjoint) continue;
    const char* what = computes(a) ? (a.cell.pass == Pass::Encode ? "e" : "d") : a.kind == SlotKind::State ? "M" : "A";
    words.push_back(a.verb == Verb::Reduce ? "Reduce" : fmt::format("{} {}{}", name_of(a.verb), what, a.cell.segment));
    if (a.peer >= 0) words.back() += fmt::format(" {}", a.peer);
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

TEST(ScheduleAppend, OfOneRankEncodesDecodesBackAndRunsTheEncodesBack) {
  EXPECT_EQ(brief(lists_of(append(1, 4))[0]),
            "Forward e0, Forward e1, Forward e2, "
            "Forward d3, Clear A0, Clear A1, Clear A2, Backward d3, Free M2, "
            "Forward d2, Backward d2, Free M1, Forward d1, Backward d1, Free M0, Forward d0, Backward d0, "
            "Recompute e2, Backward e2, Free A2, Recompute e1, Backward e1, Free A1, "
            "Recompute e0, Backward e0, Reduce, Free A0");
  EXPECT_EQ(brief(lists_of(append(1, 3, {.backward = false}))[0]),
            "Forward e0, Forward e1, Forward d0, Forward d1, Forward d2, Free M0, Free M1");
}

TEST(ScheduleAppend, OfTwoRanksSendsMemoriesThereAndPartsOfTheirAdjointsBack) {
  const Lists lists = lists_of(append(2, 5, {.messages = Messages::InOrder}));
  EXPECT_EQ(brief(lists[0]),
            "Forward e0, Send M0 1, PostReceive M1 1, Wait M0 1, Forward e2, Send M2 1, PostReceive M3 1, Wait M2 1, "
            "Wait M1 1, Wait M3 1, Forward d4, Clear A0, Clear A1, Clear A2, Clear A3, Backward d4, Send A3 1, "
            "Free M2, Free M3, PostReceive A2 1, Wait A3 1, Free A3, "
            "Forward d2, Wait A2 1, Add A2, Free A2, Backward d2, Send A1 1, "
            "Free M0, Free M1, PostReceive A0 1, Wait A1 1, Free A1, "
            "Forward d0, Wait A0 1, Add A0, Free A0, Backward d0, "
            "Recompute e2, Backward e2, Free A2, Recompute e0, Backward e0, Reduce, Free A0");
  EXPECT_EQ(brief(lists[1]),
            "PostReceive M0 0, Forward e1, Send M1 0, PostReceive M2 0, Wait M1 0, Forward e3, Send M3 0, "
            "Wait M3 0, Free M3, "
            "Wait M0 0, Wait M2 0, Forward d3, PostReceive A3 0, Clear A0, Clear A1, Clear A2, Backward d3, Send A2 0, "
            "Free M1, Free M2, Wait A2 0, Free A2, Wait A3 0, Clear A3, Add A3, Free A3, "
            "Forward d1, PostReceive A1 0, Backward d1, Send A0 0, "
            "Free M0, Wait A0 0, Free A0, Wait A1 0, Add A1, Free A1, "
            "Recompute e3, Backward e3, Free A3, Recompute e1, Backward e1, Free A1, Reduce");
}

TEST(ScheduleAppend, CutsTheLastEncodesBackwardIntoParts) {
  const Lists lists = lists_of(append(2, 3, {.parts = 2}));
  std::vector<std::string> back;
  for (const Action& a : lists[0])
    if (a.verb == Verb::Backward || a.verb == Verb::Reduce) back.push_back(describe(a));
  const std::vector<std::string> expected{
      "Backward stream 0 segment 2 layers -1..2 saved 0 hidden 0",
      "Backward stream 0 segment 0 layers -1..2 saved 0 hidden 0",
      "Backward stream 0 segment 0 layers 1..2 encode in Adjoint 0 saved 0 hidden 0",
      "Reduce layers 1..2",
      "Backward stream 0 segment 0 layers -1..0 encode in Adjoint 0 saved 0 hidden 0",
      "Reduce layers -1..0"};
  EXPECT_EQ(joined(back), joined(expected));
}

// Weights at boundaries are applied to numbers; no memory can be left out.
TEST(ScheduleAppend, HasNoClosedBoundariesAndThinsNone) {
  Case closed = append(2, 5);
  closed.window = 2;
  EXPECT_EQ(lists_of(closed), lists_of(append(2, 5)));
  EXPECT_THROW(derive(append(2, 5, {.boundaries = 2}), 0), Error);
}

}  // namespace
}  // namespace memring
