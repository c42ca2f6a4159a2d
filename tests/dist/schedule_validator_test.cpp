// The validator finds planted faults: every dropped, doubled and altered action of a set of cases, in readable words.
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule_validator.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "schedule_cases.h"

namespace memring {
namespace {

TEST(ScheduleValidator, FindsEveryDroppedAction) {
  int planted = 0;
  for (const Case& c : small_cases()) {
    const ScheduleTask task = task_of(c);
    const Lists sound = lists_of(c);
    ASSERT_EQ(joined(faults_of(task, sound)), "") << describe(c);
    for (size_t p = 0; p < sound.size(); ++p) {
      for (size_t i = 0; i < sound[p].size(); ++i) {
        Lists lists = sound;
        ++planted;
        lists[p].erase(lists[p].begin() + i);
        EXPECT_FALSE(faults_of(task, lists).empty()) << describe(c) << ": without " << describe(sound[p][i]);
      }
    }
  }
  EXPECT_GT(planted, 200);
}

TEST(ScheduleValidator, FindsEveryDuplicatedAction) {
  int planted = 0;
  for (const Case& c : small_cases()) {
    const ScheduleTask task = task_of(c);
    const Lists sound = lists_of(c);
    for (size_t p = 0; p < sound.size(); ++p) {
      for (size_t i = 0; i < sound[p].size(); ++i) {
        Lists lists = sound;
        ++planted;
        lists[p].insert(lists[p].begin() + i, sound[p][i]);
        EXPECT_FALSE(faults_of(task, lists).empty()) << describe(c) << ": twice " << describe(sound[p][i]);
      }
    }
  }
  EXPECT_GT(planted, 200);
}

TEST(ScheduleValidator, FindsEveryWrongSlotTagPeerAndCell) {
  int planted = 0;
  for (const Case& c : small_cases()) {
    const ScheduleTask task = task_of(c);
    const Lists sound = lists_of(c);
    for (size_t p = 0; p < sound.size(); ++p) {
      for (size_t i = 0; i < sound[p].size(); ++i) {
        const Action right = sound[p][i];
        std::vector<Action> wrongs;
        const auto wrong = [&](auto field, auto value) { (wrongs.emplace_back(right).*field) = value; };
        if (computes(right)) {
          for (auto field : {&Action::in, &Action::out, &Action::saved}) {
            wrong(field, right.*field + 1);
            wrong(field, right.*field == kNoSlot ? 1 : kNoSlot);
          }
          wrongs.emplace_back(right).cell.segment += 1;
          wrongs.emplace_back(right).cell.layers -= 1;
        } else if (right.verb == Verb::Reduce) {
          wrongs.emplace_back(right).cell.layers -= 1;
          wrongs.emplace_back(right).cell.layer += 1;
        } else {
          wrong(&Action::slot, right.slot + 1);
          wrong(&Action::kind, right.kind == SlotKind::State ? SlotKind::Adjoint : SlotKind::State);
        }
        if (travels(right)) {
          wrong(&Action::tag, right.tag + 1);
          wrong(&Action::tag, right.tag + 2);
          wrong(&Action::peer, (right.peer + 1) % c.ranks);
          wrongs.emplace_back(right).cell.segment += 1;
          wrongs.emplace_back(right).cell.stream ^= 1;
        }
        for (const Action& action : wrongs) {
          Lists lists = sound;
          ++planted;
          lists[p][i] = action;
          EXPECT_FALSE(faults_of(task, lists).empty())
              << describe(c) << ": " << describe(action) << " in place of " << describe(right);
        }
      }
    }
  }
  EXPECT_GT(planted, 1000);
}

// A planted fault and the words it must be reported in.
void expect_fault(const Lists& lists, const ScheduleTask& task, const std::string& words) {
  const std::string found = joined(faults_of(task, lists));
  EXPECT_NE(found.find(words), std::string::npos) << "expected: " << words << "\nfound: " << found;
}

size_t find(const std::vector<Action>& actions, Verb verb, SlotKind kind = SlotKind::State, int nth = 0) {
  for (size_t i = 0; i < actions.size(); ++i) {
    if (actions[i].verb == verb && actions[i].kind == kind && nth-- == 0) return i;
  }
  throw Error(ExitCode::Internal, "no such action in the list");
}

TEST(ScheduleValidator, NamesRankActionAndFault) {
  const Case c{.ranks = 2, .segments = 4};
  const ScheduleTask task = task_of(c);
  const Lists sound = lists_of(c);
  Lists lists = sound;
  lists[1].erase(lists[1].begin() + find(lists[1], Verb::Send));
  expect_fault(lists, task,
               "rank 0, action 7 (Wait stream 0 segment 2 layers -1..2 State 0 peer 1 tag 0): deadlock: waits "
               "for send 0 of tag 0 by rank 1, which stands at action");
  lists = sound;
  lists[0].push_back(lists[0][find(lists[0], Verb::Backward)]);
  expect_fault(lists, task, "is run a second time");
  expect_fault(lists, task,
               "reads slot Saved 0, which is empty; expected the rows of 1 cells of segment 2 of stream 0");
  lists = sound;
  lists[0].erase(lists[0].begin() + find(lists[0], Verb::Backward));
  expect_fault(lists, task, "nobody read the rows of 1 cells of segment 2 of stream 0");
  lists = sound;
  lists[0].erase(lists[0].begin() + find(lists[0], Verb::Wait));
  expect_fault(lists, task, "nobody waited for it");
  lists = sound;
  lists[0].pop_back();
  expect_fault(lists, task,
               "rank 0, at the end: slot Saved 0 with the rows of 0 cells of segment 0 of stream 0 was never freed");
  lists = sound;
  lists[0].push_back(lists[0].back());
  expect_fault(lists, task, "freed twice");
  lists = sound;
  std::swap(lists[0][find(lists[0], Verb::Forward)], lists[0][find(lists[0], Verb::Send)]);
  expect_fault(lists, task, "is empty; expected the state of cell 0 at boundary 1 of stream 0");
  ScheduleTask fewer = task;
  fewer.slots[1][0] -= 1;
  expect_fault(sound, fewer, "there is no slot State 2; 2 were announced");
  ScheduleTask shut = task;
  shut.closed[2] = true;
  expect_fault(sound, shut, "has a slot `out` (1), and expected is none");
}

TEST(ScheduleValidator, FindsTheStateOfAnotherStream) {
  const Case c{.ranks = 2, .streams = 2, .segments = 2, .policy = {.in_flight = 2}};
  Lists lists = lists_of(c);
  for (Action& action : lists[0]) {
    const bool message = action.verb == Verb::Send || action.verb == Verb::Wait;
    if (message && action.kind == SlotKind::State) action.tag = 3 - action.tag;  // 0 and 3 are the streams' tags
  }
  expect_fault(lists, task_of(c),
               "received the state of cell 0 at boundary 1 of stream 1; expected the state of cell 0 at boundary 1 of "
               "stream 0");
}

TEST(ScheduleValidator, FindsAReduceThatComesTooEarlyOrInAnotherOrder) {
  const Case c{.dependency = Dependency::LayerLocal, .ranks = 2, .segments = 4, .depth = 2};
  const Lists sound = lists_of(c);
  for (size_t rank : {0, 1}) {
    Lists lists = sound;
    auto& actions = lists[rank];
    const auto reduce = actions.begin() + static_cast<int64_t>(find(actions, Verb::Reduce));
    const auto early = actions.begin() + static_cast<int64_t>(find(actions, Verb::Backward));
    std::rotate(early, reduce, reduce + 1);
    expect_fault(lists, task_of(c), "comes before the last Backward of layer");
  }
  const Case parts{.ranks = 2, .segments = 4, .policy = {.parts = 2}};
  Lists lists = lists_of(parts);
  auto& actions = lists[1];
  const size_t first = find(actions, Verb::Reduce);
  actions[first].cell = actions[first + 1].cell;
  actions[first].cell.layers = 4;
  actions.erase(actions.begin() + static_cast<int64_t>(first) + 1);
  expect_fault(lists, task_of(parts), "other ranks reduce other layers together");
}

// The state that leaves a window is read only after the window's backward: who waits for it at once stops the ring.
TEST(ScheduleValidator, FindsADeadlockThatABufferingSendWouldHide) {
  const Case c{.ranks = 2, .segments = 8, .window = 4};
  Lists lists = lists_of(c);
  auto& actions = lists[1];
  const auto leaves = [](const Action& a) { return a.kind == SlotKind::State && a.cell.segment == 3; };
  const auto send =
      std::find_if(actions.begin(), actions.end(), [&](auto& a) { return a.verb == Verb::Send && leaves(a); });
  const auto done = std::find_if(send, actions.end(), [&](auto& a) { return a.verb == Verb::Wait && leaves(a); });
  ASSERT_NE(done, actions.end());
  std::rotate(send + 1, done, done + 1);
  expect_fault(lists, task_of(c), "deadlock: waits for receive");
}

TEST(ScheduleValidator, FindsAFinalStateThatStays) {
  const Case c{.ranks = 1, .segments = 3, .policy = {.final_state = true}};
  Lists lists = lists_of(c);
  auto& actions = lists[0];
  const auto last = std::find_if(actions.begin(), actions.end(), [](auto& a) { return a.cell.segment == 2; });
  ASSERT_EQ(last[1].verb, Verb::Free);
  std::rotate(last + 1, last + 2, last + 4);
  expect_fault(lists, task_of(c), "is not freed right behind its cell");
}

}  // namespace
}  // namespace memring
