// RankActions of Append: memories are kept where decodes read them, each rank's part of their adjoints is summed, and
// the parts meet where the encode is run back. Both ends of a message stand behind its writer in the common order.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "dist/rank_actions.h"

namespace memring::scheduling {

Cell RankActions::memory_cell(int32_t stream, int32_t segment) const {
  return rules_->extent().cell(stream, segment, 0, Pass::Encode);
}

int32_t& RankActions::held_memory(int32_t place, int32_t segment) {
  return memories_[static_cast<size_t>(place)].states[static_cast<size_t>(segment)];
}

int32_t& RankActions::held_adjoint(int32_t place, int32_t segment) {
  return memories_[static_cast<size_t>(place)].adjoints[static_cast<size_t>(segment)];
}

/// What a run of another rank has written for this one.
void RankActions::receive_from(std::vector<Action>& out, const CellTask& writer) {
  if (!rules_->appends()) return;
  const int32_t segment = writer.run.segment, peer = rules_->rank_of(segment);
  const auto post = [&](int32_t of, const CellRun& reader, SlotKind kind) {
    const Cell cell = memory_cell(writer.stream, of);
    out.push_back(message(Verb::PostReceive, cell, writer.place, reader, kind, table(kind).take(), peer));
    arrivals_.push_back({out.back(), writer.place, cells_});
  };
  if (rules_->writes_memory(writer.run) && rules_->decodes_behind(segment, rank_) > 0)
    post(segment, rules_->first_decode(rank_), SlotKind::State);
  const Range complete = rules_->adjoints_completed_by(writer.run);
  for (auto s = static_cast<int32_t>(complete.begin); s < complete.end; ++s)
    if (rules_->rank_of(s) == rank_) post(s, {Verb::Backward, Pass::Encode, s}, SlotKind::Adjoint);
}

/// Memories are waited for when they are read. Parts are added one cell after they could be there, so that they travel
/// during that cell and few wait, or when their sum is read: in the common order of their writers.
void RankActions::take_arrivals(std::vector<Action>& out, const CellTask& next) {
  std::erase_if(arrivals_, [&](const Arrival& arrival) {
    const auto [stream, segment] = std::pair(arrival.receive.cell.stream, arrival.receive.cell.segment);
    const bool memory = arrival.receive.kind == SlotKind::State;
    const bool reads = stream == next.stream && (memory ? next.run.pass == Pass::Decode
                                                        : next.run == CellRun{Verb::Backward, Pass::Encode, segment});
    if (!reads && (memory || cells_ == arrival.before)) return false;
    out.push_back(arrival.receive);
    out.back().verb = Verb::Wait;
    const int32_t slot = arrival.receive.slot;
    if (memory) {
      held_memory(arrival.place, segment) = slot;
      return true;
    }
    const int32_t sum = clear_adjoint(out, stream, arrival.place, segment);
    const Cell cell = arrival.receive.cell;
    out.push_back({.verb = Verb::Add, .cell = cell, .kind = SlotKind::Adjoint, .in = slot, .out = sum});
    emit_free(out, cell, SlotKind::Adjoint, slot);
    return true;
  });
}

void RankActions::send_at_once(std::vector<Action>& out, const Cell& cell, int32_t place, const CellRun& reader,
                               SlotKind kind, int32_t slot) {
  out.push_back(message(Verb::Send, cell, place, reader, kind, slot, rules_->rank_of(reader.segment)));
  sent_.push_back({out.back(), reader, place});
}

/// The memory that the task has written, for decodes behind it: of each other rank that has some, and of this one.
void RankActions::keep_memory(std::vector<Action>& out, const CellTask& t, int32_t slot) {
  const Cell cell = cell_of(t);
  const int32_t segment = t.run.segment, end = std::min(segment + rules_->ranks(), rules_->extent().segments);
  for (int32_t behind = segment + 1; behind < end; ++behind) {  // of one rank each
    table(SlotKind::State).share(slot);
    send_at_once(out, cell, t.place, rules_->first_decode(rules_->rank_of(behind)), SlotKind::State, slot);
  }
  if (rules_->decodes_behind(segment, rank_) > 0)
    held_memory(t.place, segment) = slot;
  else
    emit_free(out, cell, SlotKind::State, slot);
}

void RankActions::free_memories(std::vector<Action>& out, const CellTask& t) {
  const Range read = rules_->memories_last_read_by(t.run);
  for (auto s = static_cast<int32_t>(read.begin); s < read.end; ++s)
    emit_free(out, memory_cell(t.stream, s), SlotKind::State, std::exchange(held_memory(t.place, s), kNoSlot));
}

/// Returns the slot of a memory's adjoint here, which begins as zero.
int32_t RankActions::clear_adjoint(std::vector<Action>& out, int32_t stream, int32_t place, int32_t segment) {
  int32_t& slot = held_adjoint(place, segment);
  if (slot != kNoSlot) return slot;
  slot = table(SlotKind::Adjoint).take();
  out.push_back({.verb = Verb::Clear, .cell = memory_cell(stream, segment), .kind = SlotKind::Adjoint, .slot = slot});
  return slot;
}

/// Those that a decode adds to.
void RankActions::clear_adjoints(std::vector<Action>& out, const CellTask& t) {
  if (!rules_->appends() || t.run.pass == Pass::Encode) return;
  for (int32_t s = 0; s < t.run.segment; ++s) clear_adjoint(out, t.stream, t.place, s);
}

/// This rank's parts that no decode here adds to any more, to those that run the encodes back.
void RankActions::complete_adjoints(std::vector<Action>& out, const CellTask& t) {
  const Range complete = rules_->adjoints_completed_by(t.run);
  for (auto s = static_cast<int32_t>(complete.begin); s < complete.end; ++s)
    if (rules_->rank_of(s) != rank_)
      send_at_once(out, memory_cell(t.stream, s), t.place, {Verb::Backward, Pass::Encode, s}, SlotKind::Adjoint,
                   std::exchange(held_adjoint(t.place, s), kNoSlot));
}

}  // namespace memring::scheduling
