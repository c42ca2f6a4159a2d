// RankActions of Append: memories are kept where decodes read them, each rank's part of their adjoints is summed, and
// the parts meet where the encode is run back.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "dist/rank_actions.h"

namespace memring::scheduling {

Cell RankActions::memory_cell(int32_t stream, int32_t segment) const {
  return rules_->extent().cell(stream, segment, 0, Pass::Encode);
}

/// arrived(segment of its writer, slot) behind each Wait, in the order of segments: round the ring from this rank.
template <class F>
void RankActions::wait_for_arrivals(std::vector<Action>& out, const CellTask& t, Takes takes, const F& arrived) {
  const Waits waits = rules_->waits_of(t.run);
  const Wait* wait = waits.that_takes(takes);
  auto slot = received_.begin();
  for (int32_t i = 0; wait && i < wait->count; ++i) {
    const CellRun writer = wait->at(i);
    if (rules_->rank_of(writer.segment) == rank_) continue;
    out.push_back(arrival(Verb::Wait, t, writer, takes, *slot));
    arrived(writer.segment, *slot++);
  }
}

void RankActions::receive_memories(std::vector<Action>& out, const CellTask& t) {
  wait_for_arrivals(out, t, Takes::Memories, [&](int32_t segment, int32_t slot) {
    memories_[static_cast<size_t>(t.place)].states[static_cast<size_t>(segment)] = slot;
  });
}

/// The memory that the task has written, for decodes behind it: of each other rank that has some, and of this one.
void RankActions::keep_memory(std::vector<Action>& out, const CellTask& t, int32_t slot) {
  const Cell cell = cell_of(t);
  const int32_t segment = t.run.segment, end = std::min(segment + rules_->ranks(), rules_->extent().segments);
  for (int32_t behind = segment + 1; behind < end; ++behind) {
    table(SlotKind::State).share(slot);
    hand_over(out, cell, t.place, rules_->receives_memories(behind), SlotKind::State, slot);
  }
  if (rules_->decodes_behind(segment, rank_) > 0)
    memories_[static_cast<size_t>(t.place)].states[static_cast<size_t>(segment)] = slot;
  else
    emit_free(out, cell, SlotKind::State, slot);
}

void RankActions::free_memories(std::vector<Action>& out, const CellTask& t) {
  const Range read = rules_->memories_last_read_by(t.run);
  for (int64_t s = read.begin; s < read.end; ++s)
    emit_free(out, memory_cell(t.stream, static_cast<int32_t>(s)), SlotKind::State,
              std::exchange(memories_[static_cast<size_t>(t.place)].states[static_cast<size_t>(s)], kNoSlot));
}

/// Those that the Backward adds to, or reads, and none has here before.
void RankActions::clear_adjoints(std::vector<Action>& out, const CellTask& t) {
  if (!rules_->appends()) return;
  const int32_t segment = t.run.segment, begin = t.run.pass == Pass::Encode ? segment : 0;
  const int32_t end = t.run.pass == Pass::Encode ? segment + 1 : segment;
  for (int32_t s = begin; s < end; ++s) {
    int32_t& slot = memories_[static_cast<size_t>(t.place)].adjoints[static_cast<size_t>(s)];
    if (slot != kNoSlot) continue;
    slot = table(SlotKind::Adjoint).take();
    out.push_back({.verb = Verb::Clear, .cell = memory_cell(t.stream, s), .kind = SlotKind::Adjoint, .slot = slot});
  }
}

/// The other ranks' parts are added to the one here.
int32_t RankActions::sum_of_adjoint(std::vector<Action>& out, const CellTask& t) {
  const Cell cell = cell_of(t);
  auto& adjoints = memories_[static_cast<size_t>(t.place)].adjoints;
  const int32_t sum = std::exchange(adjoints[static_cast<size_t>(t.run.segment)], kNoSlot);
  wait_for_arrivals(out, t, Takes::Parts, [&](int32_t, int32_t part) {
    out.push_back({.verb = Verb::Add, .cell = cell, .kind = SlotKind::Adjoint, .in = part, .out = sum});
    emit_free(out, cell, SlotKind::Adjoint, part);
  });
  return sum;
}

/// This rank's parts that no decode here adds to any more, to those that run the encodes back.
void RankActions::complete_adjoints(std::vector<Action>& out, const CellTask& t) {
  const Range complete = rules_->adjoints_completed_by(t.run);
  for (auto s = static_cast<int32_t>(complete.begin); s < complete.end; ++s) {
    if (rules_->rank_of(s) == rank_) continue;
    int32_t& part = memories_[static_cast<size_t>(t.place)].adjoints[static_cast<size_t>(s)];
    hand_over(out, memory_cell(t.stream, s), t.place, {Verb::Backward, Pass::Encode, s}, SlotKind::Adjoint,
              std::exchange(part, kNoSlot));
  }
}

}  // namespace memring::scheduling
