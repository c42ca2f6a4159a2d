// Messages that run in the order in which they are put on their way, as NCCL's do: which order of them never deadlocks.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "dist/message_lanes.h"
#include "schedule_cases.h"

namespace memring {
namespace {

std::vector<std::string> faults_in_lanes(const Lists& lists) { return scheduling::replay_in_lanes(sources_of(lists)); }

Case with(Case c, Messages messages) {
  c.policy.messages = messages;
  return c;
}

/// GPU.md's 3,072: chains and wavefronts, recomputed and kept, one window and two, closed boundaries and none.
std::vector<Case> many_cases() {
  std::vector<Case> cases;
  for (const int32_t ranks : {2, 3, 5, 8})
    for (const int32_t segments : {2, 7, 16, 32})
      for (const int32_t streams : {1, 2, 3})
        for (const int32_t in_flight : {1, 2})
          for (const bool wavefront : {false, true})
            for (const bool recompute : {false, true})
              for (const int32_t windows : {1, 2})
                for (const int32_t window : {0, 2, 3, 8})
                  cases.push_back({.dependency = wavefront ? Dependency::LayerLocal : Dependency::TopToInput,
                                   .ranks = ranks,
                                   .streams = streams,
                                   .segments = segments,
                                   .window = window,
                                   .policy = {.recompute = recompute, .in_flight = in_flight, .windows = windows},
                                   .depth = wavefront ? 3 : 1});
  return cases;
}

TEST(ScheduleMessages, InOrderNeverDeadlockWhereBufferedOnesDo) {
  const std::vector<Case> cases = many_cases();
  ASSERT_EQ(cases.size(), 3072u);
  int in_order = 0, buffered = 0;
  for (const Case& c : cases) {
    const std::vector<std::string> faults = faults_in_lanes(lists_of(with(c, Messages::InOrder)));
    EXPECT_EQ(joined(faults), "") << describe(c);
    in_order += !faults.empty();
    buffered += !faults_in_lanes(lists_of(with(c, Messages::Buffered))).empty();
  }
  fmt::print("{} schedules: {} deadlock in order, {} buffered\n", cases.size(), in_order, buffered);
  EXPECT_EQ(buffered, 3072);
}

// Memories to all ranks and parts of their adjoints back, with both ends of each message behind its writer.
TEST(ScheduleMessages, OfAppendNeverDeadlock) {
  int in_order = 0, buffered = 0, cases = 0;
  for (const int32_t ranks : {2, 3, 5, 8})
    for (const int32_t segments : {2, 7, 16, 32})
      for (const int32_t streams : {1, 2, 3})
        for (const int32_t in_flight : {1, 2})
          for (const int policy : {0, 1, 2}) {
            const Case c{.dependency = Dependency::Append,
                         .ranks = ranks,
                         .streams = streams,
                         .segments = segments,
                         .policy = {.backward = policy < 2, .recompute = policy == 0, .in_flight = in_flight}};
            in_order += !faults_in_lanes(lists_of(with(c, Messages::InOrder))).empty();
            buffered += !faults_in_lanes(lists_of(with(c, Messages::Buffered))).empty();
            ++cases;
          }
  fmt::print("{} schedules: {} deadlock in order, {} buffered\n", cases, in_order, buffered);
  EXPECT_EQ(in_order + buffered, 0);
}

// Where a rank reduces as soon as its own cells of the layers are done, it waits in its lane for ranks that wait for
// it.
TEST(ScheduleMessages, AReduceAtEachRanksOwnPlaceDeadlocks) {
  const Case c{.dependency = Dependency::LayerLocal,
               .ranks = 3,
               .segments = 9,
               .policy = {.messages = Messages::InOrder},
               .depth = 4};
  Lists lists = lists_of(c);
  ASSERT_EQ(joined(faults_in_lanes(lists)), "");
  for (auto& actions : lists)
    for (size_t i = 0; i < actions.size(); ++i) {
      if (actions[i].verb != Verb::Reduce) continue;
      const auto completes = [&](const Action& a) {
        return a.verb == Verb::Reduce || (a.verb == Verb::Backward && a.cell.layer == actions[i].cell.layer);
      };
      for (size_t at = i; !completes(actions[at - 1]); --at) std::swap(actions[at - 1], actions[at]);
    }
  EXPECT_EQ(joined(faults_of(task_of(c), lists)), "");  // nothing is missing, and MPI would run it
  const std::string found = joined(faults_in_lanes(lists));
  EXPECT_NE(found.find("deadlock of lanes: rank 0 has the lane at"), std::string::npos) << found;
}

TEST(ScheduleMessages, FindsThoseThatMeetAndDoNotBelongTogether) {
  Lists lists = lists_of({.ranks = 2, .segments = 3, .policy = {.messages = Messages::InOrder}});
  const auto send =
      std::find_if(lists[0].begin(), lists[0].end(), [](const Action& a) { return a.verb == Verb::Send; });
  send->tag += 1;
  const std::string found = joined(faults_in_lanes(lists));
  EXPECT_NE(found.find("rank 0's Send stream 0 segment 0 layers -1..2 State 0 peer 1 tag 1 meets rank 1's PostReceive"),
            std::string::npos)
      << found;
}

}  // namespace
}  // namespace memring
