// SPDX-License-Identifier: Apache-2.0
#include "dist/rank_actions.h"

#include <algorithm>
#include <utility>

#include "dist/mesh_arithmetic.h"

namespace memring::scheduling {
namespace {

constexpr size_t kActionsAtOnce = 256;  ///< actions that next_actions collects before it returns

Action reduce(const Cell& part) { return {.verb = Verb::Reduce, .cell = {.layer = part.layer, .layers = part.layers}}; }

SlotKind kind_of(Takes takes) { return takes == Takes::Adjoint ? SlotKind::Adjoint : SlotKind::State; }

}  // namespace

RankActions::RankActions(const Precedence& rules, int32_t rank) : rules_(&rules), rank_(rank) {
  const int32_t places = std::min(rules.policy().in_flight, rules.extent().streams);
  const auto windows = static_cast<size_t>(rules.policy().windows), depth = static_cast<size_t>(rules.depth());
  const std::vector<int32_t> none(depth, kNoSlot);
  holdings_.assign(
      static_cast<size_t>(places) * windows * windows,
      {.kept = {}, .states = {}, .rows = {}, .next_states = none, .next_rebuilt = none, .next_adjoints = none});
  const std::vector<int32_t> nothing(static_cast<size_t>(rules.appends() ? rules.extent().segments : 0), kNoSlot);
  memories_.assign(static_cast<size_t>(places), {.states = nothing, .adjoints = nothing});
  int64_t runs = 0;
  for (const Pass pass : rules.passes()) runs += int64_t{rules.segments(pass)} * rules.extent().streams;
  backward_left_.assign(depth, runs);
  for (int32_t level = rules.depth() - 1; level >= 0 && runs == 0 && rules.policy().backward; --level)
    complete_.push_back(rules.extent().cell(0, 0, level));  // nothing to wait for
}

Cell RankActions::cell_of(const CellTask& t) const {
  return rules_->extent().cell(t.stream, t.run.segment, t.run.level, t.run.pass);
}

/// The number of the segment's window among those under way, in all streams.
size_t RankActions::flight(int32_t place, int32_t segment) const {
  const auto windows = static_cast<size_t>(rules_->policy().windows);
  return static_cast<size_t>(place) * windows + static_cast<size_t>(rules_->window_of(segment).number) % windows;
}

RankActions::Holdings& RankActions::held(int32_t place, int32_t segment) {
  const auto windows = static_cast<size_t>(rules_->policy().windows);
  return holdings_[flight(place, segment) * windows + static_cast<size_t>(rules_->group_of(segment)) % windows];
}

void RankActions::emit_free(std::vector<Action>& out, const Cell& cell, SlotKind kind, int32_t slot) {
  if (slot == kNoSlot || !table(kind).give(slot)) return;
  out.push_back({.verb = Verb::Free, .cell = cell, .kind = kind, .slot = slot});
}

/// One tag's messages are read in the order in which they are sent: by segment.
Action RankActions::message(Verb verb, const Cell& cell, int32_t place, const CellRun& reader, SlotKind kind,
                            int32_t slot, int32_t peer) const {
  const int32_t flight = static_cast<int32_t>(this->flight(place, reader.segment));
  const int32_t sweep = reader.verb == Verb::Backward ? 2 : reader.verb == Verb::Rebuild ? 1 : 0;
  const int32_t tag = kSentKinds * (flight * rules_->depth() + reader.level) + sweep;
  return {.verb = verb, .cell = cell, .kind = kind, .slot = slot, .peer = peer, .tag = tag};
}

/// Of what the task reads.
Action RankActions::arrival(Verb verb, const CellTask& t, const Wait& wait, int32_t slot) const {
  return message(verb, cell_of(t), t.place, t.run, kind_of(wait.takes), slot, rules_->rank_of(wait.run.segment));
}

/// Starts receiving what `next` reads if another rank writes it; returns the slot.
int32_t RankActions::post_receive(std::vector<Action>& out, const CellTask& next) {
  const Waits waits = rules_->waits_of(next.run);
  const Wait* wait = waits.from_another_segment(next.run.segment);
  if (!wait || alone()) return kNoSlot;
  const int32_t slot = table(kind_of(wait->takes)).take();
  out.push_back(arrival(Verb::PostReceive, next, *wait, slot));
  return slot;
}

std::vector<int32_t>& RankActions::handed_over(Holdings& reader, Verb verb) const {
  return verb == Verb::Backward  ? reader.next_adjoints
         : verb == Verb::Rebuild ? reader.next_rebuilt
                                 : reader.next_states;
}

/// A state or adjoint of `cell` to its reader: on another rank, or a neighbouring segment's cell here.
void RankActions::hand_over(std::vector<Action>& out, const Cell& cell, int32_t place, const CellRun& reader,
                            SlotKind kind, int32_t slot) {
  if (alone()) {
    handed_over(held(place, reader.segment), reader.verb)[reader.level] = slot;
    return;
  }
  const int32_t peer = rules_->rank_of(reader.segment);
  unsent_.push_back({message(Verb::Send, cell, place, reader, kind, slot, peer), reader, place});
  if (rules_->policy().messages == Messages::InOrder) return;
  out.push_back(unsent_.back().send);
  sent_.push_back(unsent_.back());
  unsent_.pop_back();
}

/// What a run of another rank reads, if it is from here.
void RankActions::send(std::vector<Action>& out, const CellTask& reader) {
  const auto mine = std::find_if(unsent_.begin(), unsent_.end(), [&](const Sent& message) {
    return message.reader == reader.run && message.send.cell.stream == reader.stream;
  });
  if (mine == unsent_.end()) return;
  out.push_back(mine->send);
  sent_.push_back(*mine);
  unsent_.erase(mine);
}

/// The slot of the state or adjoint that the task reads.
int32_t RankActions::take(std::vector<Action>& out, const CellTask& t, Takes takes) {
  const Waits waits = rules_->waits_of(t.run);
  const Wait* wait = waits.that_takes(takes);
  if (!wait) return kNoSlot;
  Holdings& mine = held(t.place, t.run.segment);
  if (wait->run.segment == t.run.segment) {  // kept here
    auto& stack = t.run.verb == Verb::Rebuild ? mine.kept : mine.states;
    const int32_t slot = stack.back()[t.run.level];
    if (ends_segment(t)) stack.pop_back();
    return slot;
  }
  if (alone()) return std::exchange(handed_over(mine, t.run.verb)[t.run.level], kNoSlot);
  out.push_back(arrival(Verb::Wait, t, *wait, received_));
  return received_;
}

/// Forward or Rebuild.
void RankActions::emit_forward(std::vector<Action>& out, const CellTask& t) {
  Holdings& mine = held(t.place, t.run.segment);
  const Cell cell = cell_of(t);
  const bool save = rules_->policy().backward && t.run.verb == rules_->rows_from(t.run.pass, t.run.segment);
  const bool memory = rules_->writes_memory(t.run);
  const auto reader = rules_->reader_of(t.run, Takes::State), later = rules_->later_reader(t.run);
  const bool final_state = rules_->policy().final_state && rules_->writes_final_state(t.run);
  const int32_t in = take(out, t, Takes::State);
  const int32_t state = reader || final_state || memory ? table(SlotKind::State).take() : kNoSlot;
  if (t.run.level == 0 && save) mine.rows.push_back(table(SlotKind::Saved).take());
  if (t.run.level == 0 && !save) mine.forward = table(SlotKind::Hidden).take();
  out.push_back({.verb = t.run.verb,
                 .cell = cell,
                 .in = in,
                 .out = state,
                 .saved = save ? mine.rows.back() : kNoSlot,
                 .hidden = save ? kNoSlot : mine.forward});
  if (memory)
    keep_memory(out, t, state);
  else if (reader)
    hand_over(out, cell, t.place, *reader, SlotKind::State, state);
  else
    emit_free(out, cell, SlotKind::State, state);
  if (ends_segment(t) && !save) emit_free(out, cell, SlotKind::Hidden, mine.forward);
  free_memories(out, t);
  if (!later) return emit_free(out, cell, SlotKind::State, in);
  auto& stack = later->verb == Verb::Rebuild ? mine.kept : mine.states;
  if (t.run.level == 0) stack.emplace_back();
  stack.back().push_back(in);
}

void RankActions::emit_recompute(std::vector<Action>& out, const CellTask& t) {
  Holdings& mine = held(t.place, t.run.segment);
  const Cell cell = cell_of(t);
  if (t.run.level == 0) mine.rows.push_back(table(SlotKind::Saved).take());
  const int32_t in = take(out, t, Takes::State);
  out.push_back({.verb = Verb::Recompute, .cell = cell, .in = in, .saved = mine.rows.back()});
  emit_free(out, cell, SlotKind::State, in);
}

void RankActions::emit_backward(std::vector<Action>& out, const CellTask& t) {
  Holdings& mine = held(t.place, t.run.segment);
  const Cell cell = cell_of(t);
  clear_adjoints(out, t);
  const int32_t in = t.run.pass == Pass::Encode ? std::exchange(held_adjoint(t.place, t.run.segment), kNoSlot)
                                                : take(out, t, Takes::Adjoint);
  const auto reader = rules_->reader_of(t.run, Takes::Adjoint);
  const int32_t adjoint = reader ? table(SlotKind::Adjoint).take() : kNoSlot;
  if (ends_segment(t)) mine.backward = table(SlotKind::Hidden).take();
  Action action{.verb = Verb::Backward,
                .cell = cell,
                .in = in,
                .out = adjoint,
                .saved = mine.rows.back(),
                .hidden = mine.backward};
  if (!task_completes_) out.push_back(action);
  for (const Cell& part : task_completes_ ? parts_of(cell) : std::vector<Cell>()) {
    action.cell = part;
    out.push_back(action);
    out.push_back(reduce(part));
  }
  if (reader) hand_over(out, cell, t.place, *reader, SlotKind::Adjoint, adjoint);
  emit_free(out, cell, SlotKind::Adjoint, in);
  complete_adjoints(out, t);
  free_memories(out, t);
  if (t.run.level > 0) return;
  emit_free(out, cell, SlotKind::Hidden, mine.backward);
  emit_free(out, cell, SlotKind::Saved, mine.rows.back());
  mine.rows.pop_back();
}

void RankActions::emit(std::vector<Action>& out, const CellTask& t) {
  take_arrivals(out, t);
  ++cells_;
  switch (t.run.verb) {
    case Verb::Forward:
    case Verb::Rebuild:
      return emit_forward(out, t);
    case Verb::Recompute:
      return emit_recompute(out, t);
    default:
      return emit_backward(out, t);
  }
}

/// Waits for the messages that ended(message) lets go, and frees their slots.
template <class F>
void RankActions::settle(std::vector<Action>& out, const F& ended) {
  std::erase_if(sent_, [&](const Sent& message) {
    if (!ended(message)) return false;
    const Action& send = message.send;
    out.push_back(send);
    out.back().verb = Verb::Wait;
    emit_free(out, send.cell, send.kind, send.slot);
    return true;
  });
}

/// Whether it is the last backward of its layers on all ranks. (No adjoint leaves it: it begins a window.)
bool RankActions::completes_layers(const CellTask& t) {
  return t.run.verb == Verb::Backward && --backward_left_[static_cast<size_t>(t.run.level)] == 0;
}

/// From the top down.
std::vector<Cell> RankActions::parts_of(const Cell& cell) const {
  const int32_t layers = rules_->extent().layers;
  const int32_t begin = std::max<int32_t>(cell.layer, 0), end = std::min(cell.layer + cell.layers, layers);
  const int32_t count = std::min(rules_->policy().parts, end - begin);
  std::vector<Cell> parts(static_cast<size_t>(count), cell);
  int32_t above = cell.layer + cell.layers;
  for (int32_t i = 0; i < count; ++i) {
    const Range own = part_of(end - begin, count, count - 1 - i);
    const int32_t below = i + 1 < count ? begin + static_cast<int32_t>(own.begin) : cell.layer;
    parts[static_cast<size_t>(i)].layer = static_cast<int16_t>(below);
    parts[static_cast<size_t>(i)].layers = static_cast<int16_t>(above - below);
    above = below;
  }
  return parts;
}

void RankActions::emit_reduces(std::vector<Action>& out) {
  for (const Cell& cell : complete_)
    for (const Cell& part : parts_of(cell)) out.push_back(reduce(part));
  complete_.clear();
}

/// A message is received before the cell in front of its reader and sent behind its writer. It is waited for where its
/// reader stands before this point in the common order: such a Wait cannot deadlock, since whatever comes before a cell
/// of any rank waits only for cells that stand before it in that order.
void RankActions::walk_buffered(std::vector<Action>& out, const CellTask& next, bool completes, CellOrder& order) {
  if (rules_->rank_of(next.run.segment) != rank_) {
    if (completes) complete_.push_back(cell_of(next));
    return;
  }
  const int32_t slot = post_receive(out, next);
  if (task_) emit(out, *task_);
  settle(out,
         [&](const Sent& message) { return order.given(message.reader, message.place, message.send.cell.stream); });
  emit_reduces(out);
  task_ = next;
  task_completes_ = completes;
  received_ = slot;
}

/// Both ends of a message enter their lanes at the turn of its reader (of its writer with Append, where what a rank
/// reads is written long before). What was sent in order is waited for at the next cell here.
void RankActions::walk_in_order(std::vector<Action>& out, const CellTask& next, bool completes, CellOrder& order) {
  if (rules_->rank_of(next.run.segment) != rank_) {
    send(out, next);
    receive_from(out, next);
    if (completes) complete_.push_back(cell_of(next));
    return emit_reduces(out);
  }
  received_ = post_receive(out, next);
  const bool in_order = rules_->policy().messages == Messages::InOrder;
  settle(out, [&](const Sent& message) {
    return in_order || order.given(message.reader, message.place, message.send.cell.stream);
  });
  task_completes_ = completes;
  emit(out, next);
}

void RankActions::follow(std::vector<Action>& out, const CellTask& next, CellOrder& order) {
  const bool completes = completes_layers(next);
  if (rules_->policy().messages == Messages::InOrder || rules_->appends())
    return walk_in_order(out, next, completes, order);
  walk_buffered(out, next, completes, order);
}

void RankActions::end(std::vector<Action>& out) {
  if (task_) emit(out, *std::exchange(task_, std::nullopt));
  settle(out, [](const Sent&) { return true; });
  emit_reduces(out);
}

bool RankActions::next_actions(std::vector<Action>& out, CellOrder& order) {
  out.clear();
  for (CellTask next; out.size() < kActionsAtOnce && order.next(next);) follow(out, next, order);
  if (out.size() < kActionsAtOnce) end(out);
  return !out.empty();
}

}  // namespace memring::scheduling
