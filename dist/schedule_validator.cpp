// Replays the actions of all ranks on a small machine that tracks what each slot holds. Messages are a rendezvous, the
// strictest of what MPI may do: a Send completes only when its receive has been posted. So every deadlock shows.
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule_validator.h"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "base/error.h"
#include "dist/precedence.h"
#include "dist/schedule_replay.h"

namespace memring {
namespace {

using namespace scheduling;

constexpr size_t kMostFaults = 20;
constexpr Verb kSweeps[] = {Verb::Forward, Verb::Rebuild, Verb::Recompute, Verb::Backward};

class Replay {
 public:
  Replay(const ScheduleTask& task, std::vector<ActionSource> sources)
      : task_(task),
        rules_(task.dependency, task.extent, task.closed, static_cast<int32_t>(sources.size()), task.policy),
        ranks_(sources.size()) {
    const size_t cells = static_cast<size_t>(task.extent.streams) * task.extent.segments * task.extent.depth;
    for (const Verb verb : kSweeps) done_[static_cast<int>(verb)].assign(cells * rules_.passes().size(), false);
    for (size_t p = 0; p < ranks_.size(); ++p) {
      ranks_[p].source = std::move(sources[p]);
      for (int kind = 0; kind < kSlotKinds; ++kind) ranks_[p].slots[kind].resize(task.slots[p][kind]);
      int64_t own = 0;
      for (auto segment = static_cast<int64_t>(p); segment < task.extent.segments; segment += std::ssize(ranks_)) ++own;
      ranks_[p].backward_left.assign(static_cast<size_t>(task.extent.layers) + 2, own * task.extent.streams);
      ranks_[p].reduced_to = task.policy.backward ? task.extent.layers + 1 : -1;
    }
  }

  std::vector<std::string> run() {
    for (bool moved = true, ended = false; !ended && faults_.size() < kMostFaults;) {
      moved = false;
      ended = true;
      for (size_t p = 0; p < ranks_.size(); ++p) {
        me_ = static_cast<int32_t>(p);
        while (const Action* action = me().current()) {
          if (blocked(*action)) break;
          step(*action);
          ++me().at;
          ++me().index;
          moved = true;
        }
        ended = ended && me().current() == nullptr;
      }
      if (!moved && !ended) {
        report_deadlock();
        return faults_;  // what is missing at the end would only repeat it
      }
    }
    if (faults_.size() < kMostFaults) check_end();
    return faults_;
  }

 private:
  Rank& me() { return ranks_[me_]; }

  void note(std::string text) {
    if (faults_.size() == kMostFaults) return;
    faults_.push_back(std::move(text));
    if (faults_.size() == kMostFaults) faults_.back() += " (further faults are not listed)";
  }
  void fault(const std::string& text) {
    note(fmt::format("rank {}, action {} ({}): {}", me_, me().index, describe(me().window[me().at]), text));
  }

  std::vector<bool>::reference done(int32_t stream, const CellRun& run) {
    const size_t cell =
        (static_cast<size_t>(stream) * task_.extent.segments + run.segment) * task_.extent.depth + run.at;
    return done_[static_cast<int>(run.verb)][cell * rules_.passes().size() + static_cast<size_t>(run.pass)];
  }

  Slot* find(SlotKind kind, int32_t slot) {
    auto& slots = me().slots[static_cast<int>(kind)];
    if (slot >= 0 && slot < std::ssize(slots)) return &slots[slot];
    fault(fmt::format("there is no slot {} {}; {} were announced", name_of(kind), slot, slots.size()));
    return nullptr;
  }

  void write(int32_t number, const Value& value) {
    Slot* slot = find(value.kind, number);
    if (!slot) return;
    if (slot->status != Slot::Empty) {
      fault(fmt::format("writes into slot {} {}, which still {} {}", name_of(value.kind), number,
                        slot->status == Slot::Receiving ? "receives" : "holds", words(slot->value)));
    }
    *slot = {.status = Slot::Full, .value = value};
  }

  /// Rows that stay in their slot from one cell of a segment to the next; `first`: this cell fills it.
  void change(int32_t number, bool first, const Value& from, const Value& to) {
    if (first) return write(number, to);
    read(number, from);
    if (Slot* slot = find(to.kind, number)) slot->value = to;
  }

  void read(int32_t number, const Value& expected) {
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

  /// A slot that a cell needs, or must not have.
  bool wanted(const char* field, bool needed, int32_t slot) {
    if (needed == (slot != kNoSlot)) return needed;
    fault(needed ? fmt::format("has no slot `{}`, and needs one", field)
                 : fmt::format("has a slot `{}` ({}), and expected is none", field, slot));
    return false;
  }

  bool blocked(const Action& action) {
    if (action.verb != Verb::Wait) return false;
    const auto& slots = me().slots[static_cast<int>(action.kind)];
    if (action.slot < 0 || action.slot >= std::ssize(slots)) return false;
    const Slot& slot = slots[action.slot];
    if (slot.status == Slot::Receiving) return slot.channel->sends <= slot.message;
    return slot.status == Slot::Sending && slot.channel->receives <= slot.message;
  }

  void step(const Action& action) {
    const Cell& cell = action.cell;
    if (const int32_t slot = std::exchange(me().final_state, kNoSlot);
        slot != kNoSlot && (action.verb != Verb::Free || action.kind != SlotKind::State || action.slot != slot)) {
      fault(fmt::format("the final state in slot State {} is not freed right behind its cell", slot));
    }
    if (action.verb == Verb::Reduce) return reduce(action);
    if (cell.stream < 0 || cell.stream >= task_.extent.streams || cell.segment < 0 ||
        cell.segment >= task_.extent.segments || !find_run(action)) {
      return fault(fmt::format("there is no such cell among {} streams of {} segments and {} layers in {} cells",
                               task_.extent.streams, task_.extent.segments, task_.extent.layers, task_.extent.depth));
    }
    switch (action.verb) {
      case Verb::Forward:
      case Verb::Rebuild:
      case Verb::Recompute:
      case Verb::Backward:
        return compute(action);
      case Verb::PostReceive:
        return post_receive(action);
      case Verb::Send:
        return send(action);
      case Verb::Wait:
        return wait(action);
      case Verb::Free:
        return free(action);
      case Verb::Reduce:
        break;
    }
  }

  /// Backward may run a part of a cell.
  bool is_of(const Cell& cell, Cell whole) const {
    if (run_.verb == Verb::Backward && cell.layer >= whole.layer &&
        cell.layer + cell.layers <= whole.layer + whole.layers) {
      whole.layer = cell.layer;
      whole.layers = cell.layers;
    }
    return cell == whole;
  }

  /// Sets run_.
  bool find_run(const Action& action) {
    const Cell& cell = action.cell;
    for (const Pass pass : rules_.passes())
      for (int32_t at = 0; at < task_.extent.depth; ++at)
        if (run_ = {action.verb, pass, cell.segment, at};
            is_of(cell, task_.extent.cell(cell.stream, cell.segment, at, pass)))
          return true;
    return false;
  }

  void compute(const Action& action) {
    const int32_t stream = action.cell.stream, segment = run_.segment, owner = rules_.rank_of(segment);
    if (!rules_.runs(run_.verb, segment)) return fault("nothing is to be run with this verb here");
    if (owner != me_) fault(fmt::format("the segment belongs to rank {}", owner));
    if (done(stream, run_)) fault("is run a second time");
    const auto [begins, ends] = part(action.cell);
    done(stream, run_) = ends;
    const Waits waits = rules_.waits_of(run_);
    for (const auto& [before, takes] : waits)
      if (takes != Takes::Turn && !done(stream, before))
        fault(fmt::format("comes before the {} of segment {} cell {} that it waits for", name_of(before.verb),
                          before.segment, before.at));

    const bool back = run_.verb == Verb::Backward;
    const SlotKind kind = back ? SlotKind::Adjoint : SlotKind::State;
    const Takes takes = back ? Takes::Adjoint : Takes::State;
    const bool final_state = task_.policy.final_state && rules_.writes_final_state(run_);
    if (wanted("in", waits.that_takes(takes), action.in))
      read(action.in, {kind, run_.pass, stream, segment + (back ? 1 : 0), run_.at});
    if (wanted("out", rules_.reader_of(run_, takes) || final_state, action.out) && ends) {
      write(action.out, {kind, run_.pass, stream, segment + (back ? 0 : 1), run_.at});
      if (final_state) me().final_state = action.out;
    }
    if (back) return descend(action, begins, ends);
    const bool save = task_.policy.backward && run_.verb == rules_.rows_from(segment);
    if (wanted("saved", save, action.saved)) climb(SlotKind::Saved, action.saved, stream);
    if (wanted("hidden", !save, action.hidden)) climb(SlotKind::Hidden, action.hidden, stream);
  }

  /// The rows in this slot have gone through one cell more.
  void climb(SlotKind kind, int32_t slot, int32_t stream) {
    const auto value = [&](int32_t depth) { return Value{kind, run_.pass, stream, run_.segment, depth}; };
    change(slot, run_.at == 0, value(run_.at), value(run_.at + 1));
  }

  /// Whether the cell is the first part of what it is a part of, and whether the last: from the top down.
  std::pair<bool, bool> part(const Cell& cell) {
    const Cell whole = task_.extent.cell(cell.stream, cell.segment, run_.at, run_.pass);
    if (cell == whole && begun_.empty()) return {true, true};
    const auto [begun, first] =
        begun_.try_emplace({cell.stream, cell.segment, whole.layer}, whole.layer + whole.layers);
    if (cell.layer + cell.layers != begun->second || cell.layers <= 0)
      fault(fmt::format("does not go on below layer {}", begun->second));
    begun->second = cell.layer;
    const bool ends = cell.layer == whole.layer;
    if (ends) begun_.erase(begun);
    return {first, ends};
  }

  void descend(const Action& action, bool begins, bool ends) {
    const int32_t stream = action.cell.stream;
    for (int32_t i = 0; i < action.cell.layers; ++i)
      --me().backward_left[static_cast<size_t>(action.cell.layer + 1 + i)];
    const bool top = run_.at + 1 == task_.extent.depth;
    const int32_t below = ends ? run_.at : run_.at + 1;
    const auto value = [&](SlotKind kind, int32_t depth) {
      return Value{kind, run_.pass, stream, run_.segment, depth, kind == SlotKind::Hidden};
    };
    if (wanted("saved", true, action.saved))
      change(action.saved, false, value(SlotKind::Saved, run_.at + 1), value(SlotKind::Saved, below));
    if (wanted("hidden", true, action.hidden))
      change(action.hidden, top && begins, value(SlotKind::Hidden, run_.at + 1), value(SlotKind::Hidden, below));
  }

  /// All ranks reduce the same groups of layers in the same order, each layer once.
  void reduce(const Action& action) {
    const Range layers{action.cell.layer, action.cell.layer + action.cell.layers};
    if (layers.begin < -1 || layers.size() <= 0 || layers.end != me().reduced_to)
      return fault(fmt::format("is not what comes next: the layers below {}", me().reduced_to));
    for (int64_t layer = layers.begin; layer < layers.end; ++layer)
      if (me().backward_left[static_cast<size_t>(layer + 1)] > 0)
        return fault(fmt::format("comes before the last Backward of layer {} on this rank", layer));
    me().reduced_to = action.cell.layer;
    if (me().reduced == reduced_.size()) reduced_.push_back(layers);
    if (reduced_[me().reduced++] != layers) fault("other ranks reduce other layers together");
  }

  /// What a message carries, judged by the cell that writes it (sender) or reads it.
  Value carried(const Action& action, bool sender) const {
    const bool behind = (action.kind == SlotKind::State) == sender;
    return {action.kind, run_.pass, action.cell.stream, action.cell.segment + (behind ? 1 : 0), run_.at};
  }

  /// Counts a message of this slot in its channel.
  void start(Slot& slot, Slot::Status status, const Action& action) {
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

  void post_receive(const Action& action) {
    Slot* slot = find(action.kind, action.slot);
    if (!slot) return;
    if (slot->status == Slot::Receiving) return fault("the slot is being received into already");
    if (slot->status != Slot::Empty) fault(fmt::format("the slot still holds {}", words(slot->value)));
    *slot = {.value = carried(action, false)};
    start(*slot, Slot::Receiving, action);
  }

  void send(const Action& action) {
    Slot* slot = find(action.kind, action.slot);
    if (!slot) return;
    read(action.slot, carried(action, true));
    if (slot->status == Slot::Sending) return fault("the slot is being sent already");
    if (slot->status == Slot::Full) start(*slot, Slot::Sending, action);
  }

  void wait(const Action& action) {
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

  void free(const Action& action) {
    Slot* slot = find(action.kind, action.slot);
    if (!slot) return;
    if (slot->status == Slot::Empty) return fault("the slot is empty: freed twice, or never filled");
    if (slot->status != Slot::Full) fault("the slot's message is under way: nobody waited for it");
    if (!used_up(*slot)) fault(fmt::format("nobody read {}", words(slot->value)));
    *slot = {};
  }

  bool used_up(const Slot& slot) const {
    const Value& value = slot.value;
    if (value.kind == SlotKind::Saved || value.gradient) return value.depth == 0;
    if (value.kind == SlotKind::Hidden) return value.depth == task_.extent.depth;
    return slot.read || (value.kind == SlotKind::State && value.at == task_.extent.segments);
  }

  void report_deadlock() {
    for (size_t p = 0; p < ranks_.size(); ++p) {
      me_ = static_cast<int32_t>(p);
      const Action* action = me().current();
      if (!action) continue;
      const Slot& slot = me().slots[static_cast<int>(action->kind)][action->slot];
      const Action* other = ranks_[slot.peer].current();
      fault(fmt::format(
          "deadlock: waits for {} {} of tag {} by rank {}, which {}",
          slot.status == Slot::Receiving ? "send" : "receive", slot.message, slot.tag, slot.peer,
          other ? fmt::format("stands at action {} ({})", ranks_[slot.peer].index, describe(*other)) : "has ended"));
    }
  }

  void check_end() {
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
    for (size_t p = 0; p < ranks_.size(); ++p)
      if (ranks_[p].reduced_to > -1)
        note(fmt::format("rank {}, at the end: layers below {} are not reduced", p, ranks_[p].reduced_to));
    for (int32_t stream = 0; stream < task_.extent.streams; ++stream)
      for (int32_t segment = 0; segment < task_.extent.segments; ++segment)
        for (const Pass pass : rules_.passes())
          for (const Verb verb : kSweeps)
            for (int32_t at = 0; rules_.runs(verb, segment) && at < task_.extent.depth; ++at)
              if (!done(stream, {verb, pass, segment, at}))
                note(fmt::format("stream {} segment {} cell {}: {} is missing", stream, segment, at, name_of(verb)));
  }

  const ScheduleTask& task_;
  Precedence rules_;
  std::vector<Rank> ranks_;
  int32_t me_ = 0;
  CellRun run_;                                                        ///< of the action's cell
  std::map<std::tuple<int32_t, int32_t, int32_t>, Channel> channels_;  // from, to, tag
  std::array<std::vector<bool>, std::size(kSweeps)> done_;             // by verb; by cell and pass
  std::map<std::tuple<int32_t, int32_t, int32_t>, int32_t> begun_;  // stream, segment, cell: run back down to a layer
  std::vector<Range> reduced_;                                      // together, in the order of all ranks
  std::vector<std::string> faults_;
};

}  // namespace

std::vector<std::string> validate(const ScheduleTask& task, std::vector<ActionSource> ranks) {
  check(std::ssize(task.closed) == task.extent.segments && task.slots.size() == ranks.size(),
        fmt::format("validator: {} closed boundaries for {} segments, slots of {} ranks for {}", task.closed.size(),
                    task.extent.segments, task.slots.size(), ranks.size()));
  return Replay(task, std::move(ranks)).run();
}

std::vector<std::string> validate(std::vector<Schedule>& schedules) {
  check(!schedules.empty(), "validate needs the schedules of all ranks of a segment axis, found none");
  const Schedule& first = schedules.front();
  ScheduleTask task{first.dependency(), first.extent(), first.closed(), first.policy(), {}};
  std::vector<ActionSource> sources;
  for (size_t p = 0; p < schedules.size(); ++p) {
    Schedule& schedule = schedules[p];
    check(schedule.mesh().segment == std::ssize(schedules) && schedule.coord().segment == static_cast<int>(p),
          fmt::format("schedule {} of {} is that of rank {} of {}", p, schedules.size(), schedule.coord().segment,
                      schedule.mesh().segment));
    task.slots.push_back(schedule.slots());
    schedule.restart();
    sources.emplace_back([&schedule](std::vector<Action>& out) { return schedule.next_window(out); });
  }
  std::vector<std::string> faults = validate(task, std::move(sources));
  for (Schedule& schedule : schedules) schedule.restart();
  return faults;
}

}  // namespace memring
