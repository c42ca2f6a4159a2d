// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace memring::scheduling {
namespace {

std::string words(const Value& value) {
  switch (value.kind) {
    case SlotKind::State:
    case SlotKind::Adjoint:
      if (value.pass == Pass::Encode)
        return fmt::format("the {} of segment {} of stream {}{}",
                           value.kind == SlotKind::State ? "memory" : "memory's adjoint", value.position - 1,
                           value.stream, value.parts > 0 ? fmt::format(" from {} decodes", value.parts) : "");
      return fmt::format("the {} of cell {} at boundary {} of stream {}",
                         value.kind == SlotKind::State ? "state" : "adjoint", value.level, value.position,
                         value.stream);
    case SlotKind::Saved:
      return fmt::format("the rows of {} cells of segment {} of stream {}", value.level, value.position, value.stream);
    case SlotKind::Hidden:
      break;
  }
  return fmt::format("the hidden rows{} above cell {} of segment {} of stream {}", value.gradient ? "' gradient" : "",
                     value.level - 1, value.position, value.stream);
}

}  // namespace

SlotReplay::SlotReplay(const ScheduleTask& task, std::vector<ActionSource> sources)
    : task_(task),
      rules_(task.dependency, task.extent, task.closed, static_cast<int32_t>(sources.size()), task.policy),
      ranks_(sources.size()) {
  for (size_t p = 0; p < ranks_.size(); ++p) {
    ranks_[p].source = std::move(sources[p]);
    for (int kind = 0; kind < kSlotKinds; ++kind) ranks_[p].slots[kind].resize(task.slots[p][kind]);
  }
}

void SlotReplay::note(std::string text) {
  if (faults_.size() == kMostFaults) return;
  faults_.push_back(std::move(text));
  if (faults_.size() == kMostFaults) faults_.back() += " (further faults are not listed)";
}

void SlotReplay::fault(const std::string& text) {
  note(fmt::format("rank {}, action {} ({}): {}", me_, me().index, describe(me().actions[me().next]), text));
}

Slot* SlotReplay::find(SlotKind kind, int32_t slot) {
  auto& slots = me().slots[static_cast<int>(kind)];
  if (slot >= 0 && slot < std::ssize(slots)) return &slots[slot];
  fault(fmt::format("there is no slot {} {}; {} were announced", name_of(kind), slot, slots.size()));
  return nullptr;
}

void SlotReplay::write(int32_t number, const Value& value) {
  Slot* slot = find(value.kind, number);
  if (!slot) return;
  if (slot->status != Slot::Empty) {
    fault(fmt::format("writes into slot {} {}, which still {} {}", name_of(value.kind), number,
                      slot->status == Slot::Receiving ? "receives" : "holds", words(slot->value)));
  }
  *slot = {.status = Slot::Full, .value = value};
}

void SlotReplay::change(int32_t number, bool first, const Value& from, const Value& to) {
  if (first) return write(number, to);
  read(number, from);
  if (Slot* slot = find(to.kind, number)) slot->value = to;
}

void SlotReplay::read(int32_t number, const Value& expected) {
  Slot* slot = find(expected.kind, number);
  if (!slot) return;
  if (slot->status == Slot::Empty || slot->status == Slot::Receiving) {
    return fault(fmt::format("reads slot {} {}, which {}; expected {}", name_of(expected.kind), number,
                             slot->status == Slot::Empty ? "is empty" : "nobody waited for", words(expected)));
  }
  if (slot->value != expected) {
    fault(fmt::format("reads slot {} {}, which holds {}; expected {}", name_of(expected.kind), number,
                      words(slot->value), words(expected)));
  }
  slot->read = true;
}

bool SlotReplay::wanted(const char* field, bool needed, int32_t slot) {
  if (needed == (slot != kNoSlot)) return needed;
  fault(needed ? fmt::format("has no slot `{}`, and needs one", field)
               : fmt::format("has a slot `{}` ({}), and expected is none", field, slot));
  return false;
}

bool SlotReplay::blocked(const Action& action) {
  if (action.verb != Verb::Wait) return false;
  auto& slots = me().slots[static_cast<int>(action.kind)];
  if (action.slot < 0 || action.slot >= std::ssize(slots)) return false;
  Slot& slot = slots[action.slot];
  const auto message = message_of(slot, action.peer);
  if (message == slot.messages.end()) return false;
  const Channel& channel = *message->channel;
  return (slot.status == Slot::Receiving ? channel.sends : channel.receives) <= message->number;
}

std::vector<Message>::iterator SlotReplay::message_of(Slot& slot, int32_t peer) {
  return std::find_if(slot.messages.begin(), slot.messages.end(),
                      [&](const Message& message) { return message.peer == peer; });
}

/// What a message carries, judged by its cell: that which writes it (sender) or reads it, or whose memory it is about.
Value SlotReplay::carried(const Action& action, bool sender) const {
  const int32_t segment = action.cell.segment;
  const bool behind = run_.pass == Pass::Encode || (action.kind == SlotKind::State) == sender;
  Value value{action.kind, run_.pass, action.cell.stream, segment + (behind ? 1 : 0), run_.level};
  if (run_.pass == Pass::Encode && action.kind == SlotKind::Adjoint)
    value.parts = rules_.decodes_behind(segment, sender ? me_ : action.peer);
  return value;
}

/// Counts a message of this slot in its channel.
void SlotReplay::start(Slot& slot, const Action& action) {
  const bool sends = action.verb == Verb::Send;
  if (action.kind == SlotKind::Saved || action.kind == SlotKind::Hidden) return fault("rows never leave their rank");
  if (action.peer < 0 || action.peer >= std::ssize(ranks_) || action.peer == me_) {
    return fault(fmt::format("peer {} is no other rank of {}", action.peer, ranks_.size()));
  }
  if (!sends) slot.status = Slot::Receiving;
  Channel& channel = channels_[{sends ? me_ : action.peer, sends ? action.peer : me_, action.tag}];
  slot.messages.push_back({&channel, sends ? channel.sends++ : channel.receives++, action.peer, action.tag});
  if (sends) channel.under_way[slot.messages.back().number] = slot.value;
}

void SlotReplay::post_receive(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  if (slot->status == Slot::Receiving) return fault("the slot is being received into already");
  if (slot->status != Slot::Empty) fault(fmt::format("the slot still holds {}", words(slot->value)));
  *slot = {.value = carried(action, false)};
  start(*slot, action);
}

void SlotReplay::send(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  read(action.slot, carried(action, true));
  if (slot->status != Slot::Full) return;
  if (message_of(*slot, action.peer) != slot->messages.end()) return fault("the slot is being sent there already");
  start(*slot, action);
}

void SlotReplay::wait(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  const auto started = message_of(*slot, action.peer);
  if (started == slot->messages.end()) return fault("no message with this peer was started for the slot");
  const bool sends = slot->status == Slot::Full;
  const Message message = *started;
  slot->messages.erase(started);
  if (action.tag != message.tag || carried(action, sends) != slot->value)
    fault(fmt::format("the slot's message is {} with tag {}", words(slot->value), message.tag));
  if (sends) return;
  slot->status = Slot::Full;
  const auto arrived = message.channel->under_way.find(message.number);
  if (arrived->second != slot->value)
    fault(fmt::format("received {}; expected {}", words(arrived->second), words(slot->value)));
  slot->value = arrived->second;
  message.channel->under_way.erase(arrived);
}

void SlotReplay::free(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  if (slot->status == Slot::Empty) return fault("the slot is empty: freed twice, or never filled");
  if (!slot->messages.empty()) fault("the slot's message is under way: nobody waited for it");
  if (!used_up(*slot)) fault(fmt::format("nobody read {}", words(slot->value)));
  *slot = {};
}

/// By segment, up to the cell in run_.
std::vector<Slot*> SlotReplay::held(SlotKind kind, int32_t stream) {
  std::vector<Slot*> held(static_cast<size_t>(run_.segment), nullptr);
  for (Slot& slot : me().slots[static_cast<int>(kind)]) {
    if (slot.status != Slot::Full || slot.value.stream != stream || slot.value.position > run_.segment) continue;
    Slot*& of_segment = held[static_cast<size_t>(slot.value.position) - 1];
    if (of_segment) fault(fmt::format("finds {} in two slots", words(slot.value)));
    of_segment = &slot;
  }
  for (int32_t segment = 0; segment < run_.segment; ++segment)
    if (!held[static_cast<size_t>(segment)])
      fault(fmt::format("needs {}, which no slot holds", words({kind, Pass::Encode, stream, segment + 1})));
  std::erase(held, nullptr);
  return held;
}

void SlotReplay::read_memories(int32_t stream) {
  for (Slot* slot : held(SlotKind::State, stream)) slot->read = true;
}

void SlotReplay::add_to_adjoints(int32_t stream) {
  for (Slot* slot : held(SlotKind::Adjoint, stream)) {
    if (!slot->messages.empty()) fault(fmt::format("adds to {}, which is being sent", words(slot->value)));
    ++slot->value.parts;
  }
}

void SlotReplay::clear(const Action& action) {
  if (action.kind != SlotKind::Adjoint || run_.pass != Pass::Encode) return fault("clears no adjoint of a memory");
  write(action.slot, {SlotKind::Adjoint, run_.pass, action.cell.stream, run_.segment + 1});
}

void SlotReplay::add(const Action& action) {
  Slot *part = find(SlotKind::Adjoint, action.in), *sum = find(SlotKind::Adjoint, action.out);
  if (!part || !sum) return;
  if (part == sum) return fault("adds a slot to itself");
  Value value{SlotKind::Adjoint, run_.pass, action.cell.stream, run_.segment + 1};
  value.parts = part->value.parts;
  read(action.in, value);
  value.parts = sum->value.parts;
  read(action.out, value);
  sum->read = false;
  sum->value.parts += part->value.parts;
}

bool SlotReplay::used_up(const Slot& slot) const {
  const Value& value = slot.value;
  if (value.kind == SlotKind::Saved || value.gradient) return value.level == 0;
  if (value.kind == SlotKind::Hidden) return value.level == task_.extent.depth;
  return slot.read || (value.kind == SlotKind::State && value.position == task_.extent.segments);
}

void SlotReplay::report_deadlock() {
  for (size_t p = 0; p < ranks_.size(); ++p) {
    me_ = static_cast<int32_t>(p);
    const Action* action = me().current();
    if (!action) continue;
    Slot& slot = me().slots[static_cast<int>(action->kind)][action->slot];
    const Message& message = *message_of(slot, action->peer);
    Rank& peer = ranks_[message.peer];
    const Action* other = peer.current();
    fault(fmt::format("deadlock: waits for {} {} of tag {} by rank {}, which {}",
                      slot.status == Slot::Receiving ? "send" : "receive", message.number, message.tag, message.peer,
                      other ? fmt::format("stands at action {} ({})", peer.index, describe(*other)) : "has ended"));
  }
}

void SlotReplay::check_slots() {
  for (size_t p = 0; p < ranks_.size(); ++p) {
    for (int kind = 0; kind < kSlotKinds; ++kind) {
      for (size_t i = 0; i < ranks_[p].slots[kind].size(); ++i) {
        const Slot& slot = ranks_[p].slots[kind][i];
        if (slot.status == Slot::Empty) continue;
        note(fmt::format("rank {}, at the end: slot {} {} with {} was never freed{}", p,
                         name_of(static_cast<SlotKind>(kind)), i, words(slot.value),
                         slot.messages.empty() ? "" : ", and nobody waited for its message"));
      }
    }
  }
  for (const auto& [key, messages] : channels_) {
    const auto [from, to, tag] = key;
    if (messages.sends == messages.receives) continue;
    note(fmt::format("from rank {} to rank {} with tag {}: {} sends, {} receives", from, to, tag, messages.sends,
                     messages.receives));
  }
}

}  // namespace memring::scheduling
