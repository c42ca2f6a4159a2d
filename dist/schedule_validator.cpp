// Replays the actions of all ranks on a small machine that tracks what each slot holds, and holds each against the
// rules that say what it has to read, write and come after.
// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule_validator.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "dist/message_lanes.h"
#include "dist/precedence.h"
#include "dist/schedule_replay.h"

namespace memring::scheduling {
namespace {

constexpr Verb kSweeps[] = {Verb::Forward, Verb::Rebuild, Verb::Recompute, Verb::Backward};

class Replay : private SlotReplay {
 public:
  Replay(const ScheduleTask& task, std::vector<ActionSource> sources) : SlotReplay(task, std::move(sources)) {
    const size_t cells = static_cast<size_t>(task.extent.streams) * task.extent.segments * task.extent.depth;
    for (const Verb verb : kSweeps) done_[static_cast<int>(verb)].assign(cells * rules_.passes().size(), false);
    for (size_t p = 0; p < ranks_.size(); ++p) {
      int64_t own = 0;
      for (const Pass pass : rules_.passes()) own += rules_.segments_of(static_cast<int32_t>(p), pass);
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
          ++me().next;
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
  std::vector<bool>::reference done(int32_t stream, const CellRun& run) {
    const size_t cell =
        (static_cast<size_t>(stream) * task_.extent.segments + run.segment) * task_.extent.depth + run.level;
    return done_[static_cast<int>(run.verb)][cell * rules_.passes().size() + static_cast<size_t>(run.pass)];
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
      case Verb::Clear:
        return clear(action);
      case Verb::Add:
        return add(action);
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
      for (int32_t level = 0; cell.segment < rules_.segments(pass) && level < task_.extent.depth; ++level)
        if (run_ = {action.verb, pass, cell.segment, level};
            is_of(cell, task_.extent.cell(cell.stream, cell.segment, level, pass)))
          return true;
    return false;
  }

  void compute(const Action& action) {
    const int32_t stream = action.cell.stream, segment = run_.segment, owner = rules_.rank_of(segment);
    if (!rules_.runs(run_.verb, run_.pass, segment)) return fault("nothing is to be run with this verb here");
    if (owner != me_) fault(fmt::format("the segment belongs to rank {}", owner));
    if (done(stream, run_)) fault("is run a second time");
    const auto [begins, ends] = part(action.cell);
    done(stream, run_) = ends;
    const Waits waits = rules_.waits_of(run_);
    for (const Wait& wait : waits)
      for (int32_t i = 0; wait.takes != Takes::Turn && i < wait.count; ++i)
        if (const CellRun before = wait.at(i); !done(stream, before))
          fault(fmt::format("comes before the {} of segment {} cell {} that it waits for", name_of(before.verb),
                            before.segment, before.level));

    const bool back = run_.verb == Verb::Backward;
    const SlotKind kind = back ? SlotKind::Adjoint : SlotKind::State;
    const Takes takes = back ? Takes::Adjoint : Takes::State;
    const bool final_state = task_.policy.final_state && rules_.writes_final_state(run_);
    const bool sum = waits.that_takes(Takes::Parts);  // of all ranks
    Value in{kind, run_.pass, stream, segment + (back ? 1 : 0), run_.level};
    if (sum) in.parts = task_.extent.segments - 1 - segment;
    if (wanted("in", sum || waits.that_takes(takes), action.in)) read(action.in, in);
    if (rules_.appends() && run_.pass == Pass::Decode) {
      read_memories(stream);
      if (back && ends) add_to_adjoints(stream);
    }
    const bool written = rules_.reader_of(run_, takes) || final_state || rules_.writes_memory(run_);
    if (wanted("out", written, action.out) && ends) {
      write(action.out, {kind, run_.pass, stream, segment + (back ? 0 : 1), run_.level});
      if (final_state) me().final_state = action.out;
    }
    if (back) return descend(action, begins, ends);
    const bool save = task_.policy.backward && run_.verb == rules_.rows_from(run_.pass, segment);
    if (wanted("saved", save, action.saved)) climb(SlotKind::Saved, action.saved, stream);
    if (wanted("hidden", !save, action.hidden)) climb(SlotKind::Hidden, action.hidden, stream);
  }

  /// The rows in this slot have gone through one cell more.
  void climb(SlotKind kind, int32_t slot, int32_t stream) {
    const auto value = [&](int32_t depth) { return Value{kind, run_.pass, stream, run_.segment, depth}; };
    change(slot, run_.level == 0, value(run_.level), value(run_.level + 1));
  }

  /// Whether the cell is the first part of what it is a part of, and whether the last: from the top down.
  std::pair<bool, bool> part(const Cell& cell) {
    const Cell whole = task_.extent.cell(cell.stream, cell.segment, run_.level, run_.pass);
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
      --me().backward_left[static_cast<size_t>(int64_t{action.cell.layer} + 1 + i)];
    const bool top = run_.level + 1 == task_.extent.depth;
    const int32_t below = ends ? run_.level : run_.level + 1;
    const auto value = [&](SlotKind kind, int32_t depth) {
      return Value{kind, run_.pass, stream, run_.segment, depth, kind == SlotKind::Hidden};
    };
    if (wanted("saved", true, action.saved))
      change(action.saved, false, value(SlotKind::Saved, run_.level + 1), value(SlotKind::Saved, below));
    if (wanted("hidden", true, action.hidden))
      change(action.hidden, top && begins, value(SlotKind::Hidden, run_.level + 1), value(SlotKind::Hidden, below));
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

  void check_end() {
    check_slots();
    for (size_t p = 0; p < ranks_.size(); ++p)
      if (ranks_[p].reduced_to > -1)
        note(fmt::format("rank {}, at the end: layers below {} are not reduced", p, ranks_[p].reduced_to));
    for (int32_t stream = 0; stream < task_.extent.streams; ++stream)
      for (int32_t segment = 0; segment < task_.extent.segments; ++segment)
        for (const Pass pass : rules_.passes())
          for (const Verb verb : kSweeps)
            for (int32_t level = 0; rules_.runs(verb, pass, segment) && level < task_.extent.depth; ++level)
              if (!done(stream, {verb, pass, segment, level}))
                note(fmt::format("stream {} segment {} cell {}: {} is missing", stream, segment, level, name_of(verb)));
  }

  std::array<std::vector<bool>, std::size(kSweeps)> done_;          // by verb; by cell and pass
  std::map<std::tuple<int32_t, int32_t, int32_t>, int32_t> begun_;  // stream, segment, cell: run back down to a layer
  std::vector<Range> reduced_;                                      // together, in the order of all ranks
};

}  // namespace

std::vector<std::string> validate(const ScheduleTask& task, std::vector<ActionSource> ranks) {
  check(std::ssize(task.closed) == task.extent.segments && task.slots.size() == ranks.size(),
        fmt::format("validator: {} closed boundaries for {} segments, slots of {} ranks for {}", task.closed.size(),
                    task.extent.segments, task.slots.size(), ranks.size()));
  return Replay(task, std::move(ranks)).run();
}

}  // namespace memring::scheduling

namespace memring {

std::vector<std::string> validate(std::vector<Schedule>& schedules) {
  check(!schedules.empty(), "validate needs the schedules of all ranks of a segment axis, found none");
  const Schedule& first = schedules.front();
  scheduling::ScheduleTask task{first.dependency(), first.extent(), first.closed(), first.policy(), {}};
  std::vector<scheduling::ActionSource> sources;
  for (size_t p = 0; p < schedules.size(); ++p) {
    Schedule& schedule = schedules[p];
    check(schedule.mesh().segment == std::ssize(schedules) && schedule.coord().segment == static_cast<int>(p),
          fmt::format("schedule {} of {} is that of rank {} of {}", p, schedules.size(), schedule.coord().segment,
                      schedule.mesh().segment));
    task.slots.push_back(schedule.slots());
    schedule.restart();
    sources.emplace_back([&schedule](std::vector<Action>& out) { return schedule.next_actions(out); });
  }
  std::vector<std::string> faults = validate(task, sources);
  for (Schedule& schedule : schedules) schedule.restart();
  if (!faults.empty() || first.policy().messages == Messages::Buffered) return faults;
  faults = scheduling::replay_in_lanes(std::move(sources));
  for (Schedule& schedule : schedules) schedule.restart();
  return faults;
}

}  // namespace memring
