// Turns the order of the cells into one rank's actions: slots, messages and frees around each cell.
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <utility>

#include "dist/schedule_simulation.h"

namespace memring {
namespace {

constexpr size_t kWindow = 256;  ///< actions that next_window collects before it returns

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

/// What this rank holds of a stream in flight. Backward takes segments in reverse, so both lists are stacks.
struct Holdings {
  std::vector<int32_t> states;                    ///< that Recompute will read
  std::vector<int32_t> rows;                      ///< that Backward will read
  std::array<int32_t, 2> next{kNoSlot, kNoSlot};  ///< one rank only: the State and Adjoint that the next cell reads
};

/// A message under way. Its slot is free once the cell that reads it (`reader`) has been given out.
struct Sent {
  Action send;
  Verb reader;
  int32_t place, reader_segment;
};

Cell cell_of(const Task& task, const Extent& extent) {
  return {.stream = task.stream,
          .segment = task.segment,
          .layer = -1,
          .layers = static_cast<int16_t>(extent.layers + 2),
          .pass = Pass::Decode};
}

void check_input(const ScheduleInput& input, MeshCoord coord) {
  const Extent& extent = input.extent;
  check(extent.streams >= 0 && extent.segments >= 1 && extent.layers >= 1 &&
            extent.layers + 2 <= std::numeric_limits<int16_t>::max(),
        fmt::format("schedule of {} streams, {} segments, {} layers; expected at least 0, 1, 1", extent.streams,
                    extent.segments, extent.layers));
  check(std::ssize(input.closed) == extent.segments,
        fmt::format("schedule has {} entries of closed boundaries, expected one for each of {} segments",
                    input.closed.size(), extent.segments));
  check(coord.segment >= 0 && coord.segment < input.mesh.segment,
        fmt::format("rank {} of a segment axis of {}", coord.segment, input.mesh.segment));
  // Tags are numbered by stream in flight, and MPI promises no more than 32767.
  check(input.policy.in_flight >= 1 && input.policy.in_flight <= 16383,
        fmt::format("{} streams in flight, expected 1 to 16383", input.policy.in_flight));
}

}  // namespace

struct Schedule::Simulation {
  ScheduleInput input;
  MeshCoord coord;
  std::array<int32_t, kSlotKinds> slots{};
  double efficiency = 1;

  // Restarted together.
  std::optional<CellOrder> order;
  std::array<SlotTable, kSlotKinds> tables;
  std::vector<Holdings> holdings;  // by place
  std::vector<Sent> sent;
  std::optional<Task> task;    // taken from the order; emitted when the one after it is known
  int32_t received = kNoSlot;  // the slot that `task` reads and another rank fills

  void restart() {
    order.emplace(input);
    tables = {};
    holdings.assign(std::min(input.policy.in_flight, input.extent.streams), {});
    sent.clear();
    task.reset();
    received = kNoSlot;
  }

  SlotTable& table(SlotKind kind) { return tables[static_cast<int>(kind)]; }

  void emit_free(std::vector<Action>& out, Cell cell, SlotKind kind, int32_t slot) {
    if (slot == kNoSlot) return;
    out.push_back({.verb = Verb::Free, .cell = cell, .kind = kind, .slot = slot});
    table(kind).give(slot);
  }

  static int32_t tag_of(int32_t place, SlotKind kind) { return 2 * place + (kind == SlotKind::Adjoint ? 1 : 0); }

  /// Starts receiving what `next` reads if another rank writes it; returns the slot.
  int32_t post_receive(std::vector<Action>& out, const Task& next) {
    const bool back = next.verb == Verb::Backward;
    const bool reads = back ? input.open(next.segment + 1) && next.segment + 1 < next.window_end
                            : next.verb == Verb::Forward && input.chained && next.segment > 0;
    if (!reads || input.mesh.segment == 1) return kNoSlot;
    const SlotKind kind = back ? SlotKind::Adjoint : SlotKind::State;
    const int32_t slot = table(kind).take();
    out.push_back({.verb = Verb::PostReceive,
                   .cell = cell_of(next, input.extent),
                   .kind = kind,
                   .slot = slot,
                   .peer = input.rank_of(back ? next.segment + 1 : next.segment - 1 + input.mesh.segment),
                   .tag = tag_of(next.place, kind)});
    return slot;
  }

  /// Hands what the cell wrote to its reader: another rank, or the next cell here.
  void pass_on(std::vector<Action>& out, const Task& t, SlotKind kind, int32_t slot) {
    const bool back = kind == SlotKind::Adjoint;
    if (input.mesh.segment == 1) {
      holdings[t.place].next[static_cast<int>(kind)] = slot;
      return;
    }
    const int32_t reader = back ? t.segment - 1 : t.segment + 1;
    out.push_back({.verb = Verb::Send,
                   .cell = cell_of(t, input.extent),
                   .kind = kind,
                   .slot = slot,
                   .peer = input.rank_of(reader),
                   .tag = tag_of(t.place, kind)});
    sent.push_back({out.back(), back ? Verb::Backward : Verb::Forward, t.place, reader});
  }

  /// The slot that the cell reads from its neighbour.
  int32_t take_input(std::vector<Action>& out, const Task& t, SlotKind kind) {
    if (input.mesh.segment == 1) return std::exchange(holdings[t.place].next[static_cast<int>(kind)], kNoSlot);
    if (received != kNoSlot) {
      const int32_t from = kind == SlotKind::Adjoint ? t.segment + 1 : t.segment - 1;
      out.push_back({.verb = Verb::Wait,
                     .cell = cell_of(t, input.extent),
                     .kind = kind,
                     .slot = received,
                     .peer = input.rank_of(from),
                     .tag = tag_of(t.place, kind)});
    }
    return received;
  }

  void emit_forward(std::vector<Action>& out, const Task& t) {
    Holdings& mine = holdings[t.place];
    const Cell cell = cell_of(t, input.extent);
    const bool last = t.segment + 1 == input.extent.segments, back = input.policy.backward;
    // The backward of a window's last segment follows at once, so its rows are worth keeping.
    const bool recompute = back && input.policy.recompute && t.segment + 1 < t.window_end;
    const int32_t in = take_input(out, t, SlotKind::State);
    const bool writes = input.chained && (!last || input.policy.final_state);
    const int32_t state = writes ? table(SlotKind::State).take() : kNoSlot;
    const int32_t saved = back && !recompute ? table(SlotKind::Saved).take() : kNoSlot;
    out.push_back({.verb = Verb::Forward, .cell = cell, .in = in, .out = state, .saved = saved});
    if (writes && last) emit_free(out, cell, SlotKind::State, state);
    if (writes && !last) pass_on(out, t, SlotKind::State, state);
    if (saved != kNoSlot) mine.rows.push_back(saved);
    if (recompute) {
      mine.states.push_back(in);
    } else {
      emit_free(out, cell, SlotKind::State, in);
    }
  }

  void emit_recompute(std::vector<Action>& out, const Task& t) {
    Holdings& mine = holdings[t.place];
    const Cell cell = cell_of(t, input.extent);
    const int32_t in = mine.states.back();
    mine.states.pop_back();
    mine.rows.push_back(table(SlotKind::Saved).take());
    out.push_back({.verb = Verb::Recompute, .cell = cell, .in = in, .saved = mine.rows.back()});
    emit_free(out, cell, SlotKind::State, in);
  }

  void emit_backward(std::vector<Action>& out, const Task& t) {
    Holdings& mine = holdings[t.place];
    const Cell cell = cell_of(t, input.extent);
    const int32_t in = take_input(out, t, SlotKind::Adjoint);
    const bool writes = input.open(t.segment);
    const int32_t adjoint = writes ? table(SlotKind::Adjoint).take() : kNoSlot;
    const int32_t saved = mine.rows.back();
    mine.rows.pop_back();
    out.push_back({.verb = Verb::Backward, .cell = cell, .in = in, .out = adjoint, .saved = saved});
    if (writes) pass_on(out, t, SlotKind::Adjoint, adjoint);
    emit_free(out, cell, SlotKind::Adjoint, in);
    emit_free(out, cell, SlotKind::Saved, saved);
  }

  void emit(std::vector<Action>& out, const Task& t) {
    switch (t.verb) {
      case Verb::Forward:
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
      if (!all && !order->given(message.reader, message.place, send.cell.stream, message.reader_segment)) return false;
      out.push_back(send);
      out.back().verb = Verb::Wait;
      emit_free(out, send.cell, send.kind, send.slot);
      return true;
    });
  }

  bool next_window(std::vector<Action>& out) {
    out.clear();
    Task next;
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
double Schedule::efficiency() const { return simulation_->efficiency; }
Dependency Schedule::dependency() const { return simulation_->input.dependency; }
Extent Schedule::extent() const { return simulation_->input.extent; }
const std::vector<bool>& Schedule::closed() const { return simulation_->input.closed; }
const Policy& Schedule::policy() const { return simulation_->input.policy; }
MeshShape Schedule::mesh() const { return simulation_->input.mesh; }
MeshCoord Schedule::coord() const { return simulation_->coord; }

const char* name_of(Verb verb) {
  static constexpr const char* kNames[] = {"Forward", "Recompute", "Backward", "PostReceive", "Send", "Wait", "Free"};
  return kNames[static_cast<int>(verb)];
}

std::string describe(const Action& action) {
  static constexpr const char* kKinds[] = {"State", "Adjoint", "Saved"};
  const Cell& cell = action.cell;
  std::string text = fmt::format("{} stream {} segment {} layers {}..{}", name_of(action.verb), cell.stream,
                                 cell.segment, cell.layer, cell.layer + cell.layers - 1);
  if (cell.pass == Pass::Encode) text += " encode";
  if (action.verb > Verb::Backward) {
    text += fmt::format(" {} {}", kKinds[static_cast<int>(action.kind)], action.slot);
    if (action.verb != Verb::Free) text += fmt::format(" peer {} tag {}", action.peer, action.tag);
    return text;
  }
  const char* kind = action.verb == Verb::Backward ? "Adjoint" : "State";
  if (action.in != kNoSlot) text += fmt::format(" in {} {}", kind, action.in);
  if (action.out != kNoSlot) text += fmt::format(" out {} {}", kind, action.out);
  if (action.saved != kNoSlot) text += fmt::format(" saved {}", action.saved);
  return text;
}

}  // namespace memring
