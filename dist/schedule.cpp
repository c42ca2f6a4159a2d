// Turns the order of the cells into one rank's actions: slots, messages and frees around each cell.
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <utility>

#include "dist/communicator.h"
#include "dist/mesh.h"
#include "dist/schedule_simulation.h"

namespace memring {
namespace {

constexpr size_t kWindow = 256;    ///< actions that next_window collects before it returns
constexpr int32_t kSentKinds = 3;  ///< states, rebuilt states, adjoints

/// Slots of one kind; the lowest free one is taken, so `used` is the most that were taken at a time.
class SlotTable {
 public:
  int32_t take() {
    if (free_.empty()) return used_++;
    const int32_t slot = free_.top();
    free_.pop();
    return slot;
  }
  void give(int32_t slot) { free_.push(slot); }
  int32_t used() const { return used_; }

 private:
  int32_t used_ = 0;
  std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> free_;
};

/// What this rank holds of a group of segments under way. Backward takes segments in reverse, so the lists are stacks;
/// within a segment there is a slot for each of its cells, or one for all of them.
struct Holdings {
  std::vector<std::vector<int32_t>> kept;         ///< states that Rebuild will read (also of groups not under way)
  std::vector<std::vector<int32_t>> states;       ///< that Recompute will read
  std::vector<int32_t> rows;                      ///< that Backward will read
  int32_t forward = kNoSlot, backward = kNoSlot;  ///< hidden rows of the segment under way
  // One rank only: what the next segment's cells read, in the first sweep, the second and backward.
  std::vector<int32_t> next_states, next_rebuilt, next_adjoints;
};

/// A message under way. Its slot is free once the cell that reads it has been given out.
struct Sent {
  Action send;
  Verb reader;
  int32_t place, segment, at;  ///< of the reader
};

void check_input(const ScheduleInput& input, MeshCoord coord) {
  const Extent& extent = input.extent;
  check(extent.streams >= 0 && extent.segments >= 1 && extent.layers >= 1 &&
            extent.layers + 2 <= std::numeric_limits<int16_t>::max(),
        fmt::format("schedule of {} streams, {} segments, {} layers; expected at least 0, 1, 1", extent.streams,
                    extent.segments, extent.layers));
  check(extent.depth == 1 ||
            (extent.depth > 1 && extent.depth <= extent.layers && input.dependency == Dependency::LayerLocal),
        fmt::format("{} layers cut into {} cells; expected 1, or up to one a layer where states are of layers",
                    extent.layers, extent.depth));
  check(std::ssize(input.closed) == extent.segments,
        fmt::format("schedule has {} entries of closed boundaries, expected one for each of {} segments",
                    input.closed.size(), extent.segments));
  check(coord.segment >= 0 && coord.segment < input.mesh.segment,
        fmt::format("rank {} of a segment axis of {}", coord.segment, input.mesh.segment));
  const Policy& policy = input.policy;
  check(
      policy.in_flight >= 1 && policy.windows >= 1,
      fmt::format("{} streams in flight with {} windows each, expected at least 1", policy.in_flight, policy.windows));
  const int64_t cells = int64_t{policy.in_flight} * policy.windows * extent.depth;
  check(
      cells <= Schedule::most_cells_under_way(),
      fmt::format("{} streams in flight, {} windows each, {} cells deep: the message tags suffice for {} cells, not {}",
                  policy.in_flight, policy.windows, extent.depth, Schedule::most_cells_under_way(), cells));
}

}  // namespace

int32_t Schedule::most_cells_under_way() { return Communicator::kTags / kSentKinds; }

struct Schedule::Simulation {
  ScheduleInput input;
  MeshCoord coord;
  std::array<int32_t, kSlotKinds> slots{};
  double efficiency = 1;

  // Restarted together.
  std::optional<CellOrder> order;
  std::array<SlotTable, kSlotKinds> tables;
  std::vector<Holdings> holdings;  // by place and window
  std::vector<Sent> sent;
  std::vector<int64_t> backward_left;  // by cell of the depth: how many are still to come here
  std::optional<CellTask> task;        // taken from the order; emitted when the one after it is known
  int32_t received = kNoSlot;          // the slot that `task` reads and another rank fills

  void restart() {
    order.emplace(input);
    tables = {};
    const int32_t places = std::min(input.policy.in_flight, input.extent.streams);
    const auto windows = static_cast<size_t>(input.policy.windows);
    const std::vector<int32_t> none(static_cast<size_t>(input.extent.depth), kNoSlot);
    holdings.assign(
        static_cast<size_t>(places) * windows * windows,
        {.kept = {}, .states = {}, .rows = {}, .next_states = none, .next_rebuilt = none, .next_adjoints = none});
    sent.clear();
    const int64_t own = (input.extent.segments - coord.segment + input.mesh.segment - 1) / input.mesh.segment;
    backward_left.assign(static_cast<size_t>(input.extent.depth), own * input.extent.streams);
    task.reset();
    received = kNoSlot;
  }

  SlotTable& table(SlotKind kind) { return tables[static_cast<int>(kind)]; }
  Cell cell_of(const CellTask& t) const { return input.extent.cell(t.stream, t.segment, t.at); }
  /// The number of a window among those under way, in all streams.
  size_t flight(int32_t place, int32_t window) const {
    const auto windows = static_cast<size_t>(input.policy.windows);
    return static_cast<size_t>(place) * windows + static_cast<size_t>(window) % windows;
  }
  Holdings& held(int32_t place, int32_t window, int32_t group) {
    const auto windows = static_cast<size_t>(input.policy.windows);
    return holdings[flight(place, window) * windows + static_cast<size_t>(group) % windows];
  }
  Holdings& held(const CellTask& t) { return held(t.place, t.window.number, input.group(t.window, t.segment)); }
  /// The window of the segment behind this one, of which there is one.
  static int32_t window_behind(const CellTask& t) { return t.window.number + (t.segment + 1 == t.window.end ? 1 : 0); }

  void emit_free(std::vector<Action>& out, Cell cell, SlotKind kind, int32_t slot) {
    if (slot == kNoSlot) return;
    out.push_back({.verb = Verb::Free, .cell = cell, .kind = kind, .slot = slot});
    table(kind).give(slot);
  }

  /// Of a message to a cell of this window. One tag's messages are read in the order in which they are sent: by
  /// segment.
  Action message(Verb verb, const CellTask& t, SlotKind kind, int32_t slot, int32_t peer, int32_t window) const {
    const auto cell = static_cast<int32_t>(flight(t.place, window)) * input.extent.depth + t.at;
    const int32_t sweep = t.verb == Verb::Backward ? 2 : t.verb == Verb::Rebuild ? 1 : 0;
    return {
        .verb = verb, .cell = cell_of(t), .kind = kind, .slot = slot, .peer = peer, .tag = kSentKinds * cell + sweep};
  }
  /// Of what the cell reads.
  Action arrival(Verb verb, const CellTask& t, SlotKind kind, int32_t slot) const {
    const int32_t from = kind == SlotKind::Adjoint ? t.segment + 1 : t.segment - 1 + input.mesh.segment;
    return message(verb, t, kind, slot, input.rank_of(from), t.window.number);
  }

  bool begins_group(const CellTask& t) const {
    return t.segment == input.group_begin(t.window, input.group(t.window, t.segment));
  }

  /// Starts receiving what `next` reads if another rank writes it; returns the slot.
  int32_t post_receive(std::vector<Action>& out, const CellTask& next) {
    const bool back = next.verb == Verb::Backward;
    const bool reads = back                         ? input.open(next.segment + 1) && next.segment + 1 < next.window.end
                       : next.verb == Verb::Rebuild ? !begins_group(next)
                                                    : next.verb == Verb::Forward && input.chained && next.segment > 0;
    if (!reads || input.mesh.segment == 1) return kNoSlot;
    const SlotKind kind = back ? SlotKind::Adjoint : SlotKind::State;
    const int32_t slot = table(kind).take();
    out.push_back(arrival(Verb::PostReceive, next, kind, slot));
    return slot;
  }

  /// Hands a state to its reader: another rank, or the next segment's cell here.
  void pass_state(std::vector<Action>& out, const CellTask& t, int32_t slot) {
    const int32_t window = window_behind(t);
    if (input.mesh.segment == 1) {
      Holdings& reader = held(t.place, window, window == t.window.number ? input.group(t.window, t.segment + 1) : 0);
      (t.verb == Verb::Rebuild ? reader.next_rebuilt : reader.next_states)[t.at] = slot;
      return;
    }
    out.push_back(message(Verb::Send, t, SlotKind::State, slot, input.rank_of(t.segment + 1), window));
    sent.push_back({out.back(), t.verb, t.place, t.segment + 1, t.at});
  }
  void pass_adjoint(std::vector<Action>& out, const CellTask& t, int32_t slot) {
    if (input.mesh.segment == 1) {
      held(t.place, t.window.number, input.group(t.window, t.segment - 1)).next_adjoints[t.at] = slot;
      return;
    }
    out.push_back(message(Verb::Send, t, SlotKind::Adjoint, slot, input.rank_of(t.segment - 1), t.window.number));
    sent.push_back({out.back(), Verb::Backward, t.place, t.segment - 1, t.at});
  }

  /// The slot that the cell reads from its neighbour.
  int32_t take_input(std::vector<Action>& out, const CellTask& t, SlotKind kind) {
    if (input.mesh.segment == 1) {
      Holdings& mine = held(t);
      auto& next = kind == SlotKind::Adjoint ? mine.next_adjoints
                   : t.verb == Verb::Rebuild ? mine.next_rebuilt
                                             : mine.next_states;
      return std::exchange(next[t.at], kNoSlot);
    }
    if (received != kNoSlot) out.push_back(arrival(Verb::Wait, t, kind, received));
    return received;
  }

  /// The state that a Forward or Rebuild reads.
  int32_t take_state(std::vector<Action>& out, const CellTask& t) {
    if (t.verb == Verb::Forward || !begins_group(t)) return take_input(out, t, SlotKind::State);
    Holdings& mine = held(t);
    const int32_t in = mine.kept.back()[t.at];
    if (ends_segment(t)) mine.kept.pop_back();
    return in;
  }
  bool ends_segment(const CellTask& t) const { return t.at + 1 == input.extent.depth; }

  /// Forward or Rebuild.
  void emit_forward(std::vector<Action>& out, const CellTask& t) {
    Holdings& mine = held(t);
    const Cell cell = cell_of(t);
    const bool again = t.verb == Verb::Rebuild, last = t.segment + 1 == input.extent.segments;
    const bool rebuilt = !again && input.rebuilt(t.window, t.segment);
    const bool recompute = !rebuilt && input.recomputed(t.window, t.segment);
    const bool keep = input.policy.backward && !rebuilt && !recompute;
    const int32_t in = take_state(out, t);
    const bool read = again ? t.segment + 1 < input.group_end(t.window, t.segment) : input.chained && !last;
    const bool writes = read || (input.chained && last && input.policy.final_state);
    const int32_t state = writes ? table(SlotKind::State).take() : kNoSlot;
    if (t.at == 0 && keep) mine.rows.push_back(table(SlotKind::Saved).take());
    if (t.at == 0 && !keep) mine.forward = table(SlotKind::Hidden).take();
    out.push_back({.verb = t.verb,
                   .cell = cell,
                   .in = in,
                   .out = state,
                   .saved = keep ? mine.rows.back() : kNoSlot,
                   .hidden = keep ? kNoSlot : mine.forward});
    if (writes && !read) emit_free(out, cell, SlotKind::State, state);
    if (read) pass_state(out, t, state);
    if (ends_segment(t) && !keep) emit_free(out, cell, SlotKind::Hidden, mine.forward);
    const bool kept = rebuilt && begins_group(t);
    if (!kept && !recompute) return emit_free(out, cell, SlotKind::State, in);
    auto& stack = kept ? mine.kept : mine.states;
    if (t.at == 0) stack.emplace_back();
    stack.back().push_back(in);
  }

  void emit_recompute(std::vector<Action>& out, const CellTask& t) {
    Holdings& mine = held(t);
    const Cell cell = cell_of(t);
    if (t.at == 0) mine.rows.push_back(table(SlotKind::Saved).take());
    const int32_t in = mine.states.back()[t.at];
    out.push_back({.verb = Verb::Recompute, .cell = cell, .in = in, .saved = mine.rows.back()});
    emit_free(out, cell, SlotKind::State, in);
    if (ends_segment(t)) mine.states.pop_back();
  }

  void emit_backward(std::vector<Action>& out, const CellTask& t) {
    Holdings& mine = held(t);
    const Cell cell = cell_of(t);
    const int32_t in = take_input(out, t, SlotKind::Adjoint);
    const bool writes = input.open(t.segment);
    const int32_t adjoint = writes ? table(SlotKind::Adjoint).take() : kNoSlot;
    if (ends_segment(t)) mine.backward = table(SlotKind::Hidden).take();
    out.push_back({.verb = Verb::Backward,
                   .cell = cell,
                   .in = in,
                   .out = adjoint,
                   .saved = mine.rows.back(),
                   .hidden = mine.backward,
                   .last = --backward_left[t.at] == 0});
    if (writes) pass_adjoint(out, t, adjoint);
    emit_free(out, cell, SlotKind::Adjoint, in);
    if (t.at > 0) return;
    emit_free(out, cell, SlotKind::Hidden, mine.backward);
    emit_free(out, cell, SlotKind::Saved, mine.rows.back());
    mine.rows.pop_back();
  }

  void emit(std::vector<Action>& out, const CellTask& t) {
    switch (t.verb) {
      case Verb::Forward:
      case Verb::Rebuild:
        return emit_forward(out, t);
      case Verb::Recompute:
        return emit_recompute(out, t);
      default:
        return emit_backward(out, t);
    }
  }

  /// Completes the messages whose reader stands before this point in the common order: such a Wait cannot deadlock,
  /// since whatever comes before a cell of any rank waits only for cells that stand before it in that order.
  void settle(std::vector<Action>& out, bool all) {
    std::erase_if(sent, [&](const Sent& message) {
      const Action& send = message.send;
      if (!all && !order->given(message.reader, message.place, send.cell.stream, message.segment, message.at))
        return false;
      out.push_back(send);
      out.back().verb = Verb::Wait;
      emit_free(out, send.cell, send.kind, send.slot);
      return true;
    });
  }

  bool next_window(std::vector<Action>& out) {
    out.clear();
    CellTask next;
    while (out.size() < kWindow && order->next(next)) {
      if (input.rank_of(next.segment) != coord.segment) continue;
      const int32_t slot = post_receive(out, next);
      if (task) emit(out, *task);
      settle(out, false);
      task = next;
      received = slot;
    }
    if (out.size() < kWindow && task) {
      emit(out, *task);
      settle(out, true);
      task.reset();
    }
    return !out.empty();
  }
};

Schedule::Schedule() = default;
Schedule::Schedule(Schedule&&) noexcept = default;
Schedule& Schedule::operator=(Schedule&&) noexcept = default;
Schedule::~Schedule() = default;

Schedule Schedule::derive(Dependency dependency, Extent extent, std::vector<bool> closed, MeshShape mesh,
                          MeshCoord coord, Policy policy) {
  Schedule schedule;
  schedule.simulation_ = std::make_unique<Simulation>();
  Simulation& s = *schedule.simulation_;
  const bool chained = waits_for_previous_segment(dependency);
  if (closed.empty()) closed.assign(std::max(extent.segments, 0), false);
  s.input = {dependency, chained, extent, std::move(closed), mesh, policy};
  s.coord = coord;
  check_input(s.input, coord);
  // One walk finds the slots and the efficiency; what it emits is dropped.
  s.restart();
  for (std::vector<Action> window; s.next_window(window);) {
  }
  for (int kind = 0; kind < kSlotKinds; ++kind) s.slots[kind] = s.tables[kind].used();
  if (s.order->makespan() > 0) {
    s.efficiency = static_cast<double>(s.order->busy()) / (static_cast<double>(s.order->makespan()) * mesh.segment);
  }
  s.restart();
  return schedule;
}

bool Schedule::next_window(std::vector<Action>& out) { return simulation_->next_window(out); }
void Schedule::restart() { simulation_->restart(); }
int32_t Schedule::slots(SlotKind kind) const { return simulation_->slots[static_cast<int>(kind)]; }
const std::array<int32_t, kSlotKinds>& Schedule::slots() const { return simulation_->slots; }
double Schedule::efficiency() const { return simulation_->efficiency; }
Dependency Schedule::dependency() const { return simulation_->input.dependency; }
Extent Schedule::extent() const { return simulation_->input.extent; }
const std::vector<bool>& Schedule::closed() const { return simulation_->input.closed; }
const Policy& Schedule::policy() const { return simulation_->input.policy; }
MeshShape Schedule::mesh() const { return simulation_->input.mesh; }
MeshCoord Schedule::coord() const { return simulation_->coord; }

const char* name_of(Verb verb) {
  static constexpr const char* kNames[] = {"Forward",     "Rebuild", "Recompute", "Backward",
                                           "PostReceive", "Send",    "Wait",      "Free"};
  return kNames[static_cast<int>(verb)];
}

const char* name_of(SlotKind kind) {
  static constexpr const char* kNames[] = {"State", "Adjoint", "Saved", "Hidden"};
  return kNames[static_cast<int>(kind)];
}

Cell Extent::cell(int32_t stream, int32_t segment, int32_t at) const {
  const Range own = part_of(layers, depth, at);
  const int64_t begin = at == 0 ? -1 : own.begin, end = at + 1 == depth ? layers + 1 : own.end;
  return {.stream = stream,
          .segment = segment,
          .layer = static_cast<int16_t>(begin),
          .layers = static_cast<int16_t>(end - begin),
          .pass = Pass::Decode};
}

std::string describe(const Action& action) {
  const Cell& cell = action.cell;
  std::string text = fmt::format("{} stream {} segment {} layers {}..{}", name_of(action.verb), cell.stream,
                                 cell.segment, cell.layer, cell.layer + cell.layers - 1);
  if (cell.pass == Pass::Encode) text += " encode";
  if (action.verb > Verb::Backward) {
    text += fmt::format(" {} {}", name_of(action.kind), action.slot);
    if (action.verb != Verb::Free) text += fmt::format(" peer {} tag {}", action.peer, action.tag);
    return text;
  }
  const char* kind = action.verb == Verb::Backward ? "Adjoint" : "State";
  if (action.in != kNoSlot) text += fmt::format(" in {} {}", kind, action.in);
  if (action.out != kNoSlot) text += fmt::format(" out {} {}", kind, action.out);
  if (action.saved != kNoSlot) text += fmt::format(" saved {}", action.saved);
  if (action.hidden != kNoSlot) text += fmt::format(" hidden {}", action.hidden);
  if (action.last) text += " last";
  return text;
}

}  // namespace memring
