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
        } else if (right.verb == Verb::Add) {
          for (auto field : {&Action::in, &Action::out}) wrong(field, right.*field + 1);
          wrong(&Action::in, right.out);
          wrongs.emplace_back(right).cell.segment += 1;
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

/// The place of what is done with the memory of a segment, or its adjoint; or of the cell's pass.
size_t find(const std::vector<Action>& actions, Verb verb, SlotKind kind, int32_t segment, Pass pass) {
  const auto found = std::find_if(actions.begin(), actions.end(), [&](const Action& a) {
    return a.verb == verb && (computes(a) || a.kind == kind) && a.cell.segment == segment && a.cell.pass == pass;
  });
  if (found == actions.end()) throw Error(ExitCode::Internal, "no such action in the list");
  return static_cast<size_t>(found - actions.begin());
}

/// In front of the one at `to`, which comes before it.
void move_up(std::vector<Action>& actions, size_t from, size_t to) {
  const auto begin = actions.begin();
  std::rotate(begin + static_cast<int64_t>(to), begin + static_cast<int64_t>(from),
              begin + static_cast<int64_t>(from) + 1);
}

TEST(ScheduleValidator, KnowsWhichMemoriesAndAdjointsAreHeld) {
  const Case c{.dependency = Dependency::Append, .ranks = 2, .segments = 5};
  const ScheduleTask task = task_of(c);
  const Lists sound = lists_of(c);
  const auto decode = [](const std::vector<Action>& a, Verb verb, int32_t segment) {
    return find(a, verb, SlotKind::State, segment, Pass::Decode);
  };
  const auto memory = [](const std::vector<Action>& a, Verb verb, SlotKind kind, int32_t segment) {
    return find(a, verb, kind, segment, Pass::Encode);
  };

  Lists lists = sound;  // freed before its last decode
  move_up(lists[0], memory(lists[0], Verb::Free, SlotKind::State, 1), decode(lists[0], Verb::Forward, 2));
  expect_fault(lists, task, "needs the memory of segment 1 of stream 0, which no slot holds");
  lists = sound;  // and before all of them
  move_up(lists[0], memory(lists[0], Verb::Free, SlotKind::State, 1), decode(lists[0], Verb::Forward, 4));
  expect_fault(lists, task, "nobody read the memory of segment 1 of stream 0");
  lists = sound;
  lists[1].erase(lists[1].begin() + memory(lists[1], Verb::Clear, SlotKind::Adjoint, 0));
  expect_fault(lists, task, "needs the memory's adjoint of segment 0 of stream 0, which no slot holds");
  lists = sound;
  lists[0].erase(lists[0].begin() + memory(lists[0], Verb::Add, SlotKind::Adjoint, 0));
  expect_fault(lists, task, "nobody read the memory's adjoint of segment 0 of stream 0 from 2 decodes");
  expect_fault(lists, task,
               "holds the memory's adjoint of segment 0 of stream 0 from 2 decodes; expected the memory's adjoint of "
               "segment 0 of stream 0 from 4 decodes");
  lists = sound;  // a part that is not complete
  move_up(lists[0], memory(lists[0], Verb::Send, SlotKind::Adjoint, 1), decode(lists[0], Verb::Backward, 2));
  expect_fault(lists, task,
               "holds the memory's adjoint of segment 1 of stream 0 from 1 decodes; expected the memory's adjoint of "
               "segment 1 of stream 0 from 2 decodes");
  expect_fault(lists, task, "from 1 decodes, which is being sent");
  lists = sound;
  lists[0][memory(lists[0], Verb::Add, SlotKind::Adjoint, 2)].in = 2;
  expect_fault(lists, task, "adds a slot to itself");
  lists = sound;
  lists[0][memory(lists[0], Verb::Clear, SlotKind::Adjoint, 2)].kind = SlotKind::State;
  expect_fault(lists, task, "clears no adjoint of a memory");
  lists = sound;  // one adjoint in two slots
  ScheduleTask more = task;
  more.slots[0][static_cast<size_t>(SlotKind::Adjoint)] = 9;
  const size_t clear = memory(lists[0], Verb::Clear, SlotKind::Adjoint, 2);
  lists[0].insert(lists[0].begin() + static_cast<int64_t>(clear), lists[0][clear]);
  lists[0][clear].slot = 8;
  expect_fault(lists, more, "finds the memory's adjoint of segment 2 of stream 0 in two slots");
  lists = sound;  // nobody will read the memory of the last segment
  lists[0][memory(lists[0], Verb::Forward, SlotKind::State, 2)].cell.segment = 4;
  expect_fault(lists, task, "there is no such cell");
}

}  // namespace
}  // namespace memring
