// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule_replay.h"

#include <fmt/format.h>

#include <utility>

namespace memring::scheduling {
namespace {

std::string words(const Value& value) {
  switch (value.kind) {
    case SlotKind::State:
    case SlotKind::Adjoint:
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
    : task_(task), ranks_(sources.size()) {
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
  const auto& slots = me().slots[static_cast<int>(action.kind)];
  if (action.slot < 0 || action.slot >= std::ssize(slots)) return false;
  const Slot& slot = slots[action.slot];
  if (slot.status == Slot::Receiving) return slot.channel->sends <= slot.message;
  return slot.status == Slot::Sending && slot.channel->receives <= slot.message;
}

/// What a message carries, judged by the cell that writes it (sender) or reads it.
Value SlotReplay::carried(const Action& action, bool sender) const {
  const bool behind = (action.kind == SlotKind::State) == sender;
  return {action.kind, run_.pass, action.cell.stream, action.cell.segment + (behind ? 1 : 0), run_.level};
}

/// Counts a message of this slot in its channel.
void SlotReplay::start(Slot& slot, Slot::Status status, const Action& action) {
  const bool sends = status == Slot::Sending;
  if (action.kind == SlotKind::Saved || action.kind == SlotKind::Hidden) return fault("rows never leave their rank");
  if (action.peer < 0 || action.peer >= std::ssize(ranks_) || action.peer == me_) {
    return fault(fmt::format("peer {} is no other rank of {}", action.peer, ranks_.size()));
  }
  slot.status = status;
  slot.peer = action.peer;
  slot.tag = action.tag;
  slot.channel = &channels_[{sends ? me_ : action.peer, sends ? action.peer : me_, action.tag}];
  slot.message = sends ? slot.channel->sends++ : slot.channel->receives++;
  if (sends) slot.channel->under_way[slot.message] = slot.value;
}

void SlotReplay::post_receive(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  if (slot->status == Slot::Receiving) return fault("the slot is being received into already");
  if (slot->status != Slot::Empty) fault(fmt::format("the slot still holds {}", words(slot->value)));
  *slot = {.value = carried(action, false)};
  start(*slot, Slot::Receiving, action);
}

void SlotReplay::send(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  read(action.slot, carried(action, true));
  if (slot->status == Slot::Sending) return fault("the slot is being sent already");
  if (slot->status == Slot::Full) start(*slot, Slot::Sending, action);
}

void SlotReplay::wait(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  if (slot->status == Slot::Empty || slot->status == Slot::Full) return fault("no message was started for the slot");
  const bool sends = slot->status == Slot::Sending;
  if (action.peer != slot->peer || action.tag != slot->tag || carried(action, sends) != slot->value) {
    fault(fmt::format("the slot's message is {} with peer {} and tag {}", words(slot->value), slot->peer, slot->tag));
  }
  slot->status = Slot::Full;
  if (sends) return;
  const auto message = slot->channel->under_way.find(slot->message);
  if (message->second != slot->value) {
    fault(fmt::format("received {}; expected {}", words(message->second), words(slot->value)));
  }
  slot->value = message->second;
  slot->channel->under_way.erase(message);
}

void SlotReplay::free(const Action& action) {
  Slot* slot = find(action.kind, action.slot);
  if (!slot) return;
  if (slot->status == Slot::Empty) return fault("the slot is empty: freed twice, or never filled");
  if (slot->status != Slot::Full) fault("the slot's message is under way: nobody waited for it");
  if (!used_up(*slot)) fault(fmt::format("nobody read {}", words(slot->value)));
  *slot = {};
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
    const Slot& slot = me().slots[static_cast<int>(action->kind)][action->slot];
    const Action* other = ranks_[slot.peer].current();
    fault(fmt::format(
        "deadlock: waits for {} {} of tag {} by rank {}, which {}", slot.status == Slot::Receiving ? "send" : "receive",
        slot.message, slot.tag, slot.peer,
        other ? fmt::format("stands at action {} ({})", ranks_[slot.peer].index, describe(*other)) : "has ended"));
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
                         slot.status == Slot::Full ? "" : ", and nobody waited for its message"));
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
