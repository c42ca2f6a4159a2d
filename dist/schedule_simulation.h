// The order of the cells over all ranks of one segment axis: a greedy simulation in integers, which every rank runs
// alike. Private to schedule.cpp, which turns one rank's tasks into actions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "dist/schedule.h"

namespace memring {

/// Whether a cell waits for the same cell of the segment before it or for no other segment (None). The other
/// dependencies hook in here and in CellOrder: Halo, Affine and Append wait inside a layer for other ranks' rows.
inline bool waits_for_previous_segment(Dependency dependency) {
  switch (dependency) {
    case Dependency::None:
      return false;
    case Dependency::TopToInput:
    case Dependency::LayerLocal:
      return true;
    case Dependency::Halo:
    case Dependency::Affine:
    case Dependency::Append:
      break;
  }
  static constexpr const char* kNames[] = {"None", "TopToInput", "LayerLocal", "Halo", "Affine", "Append"};
  throw Error(
      ExitCode::Usage,
      fmt::format("a memory with dependency {} was asked for; schedules exist for None, TopToInput and LayerLocal",
                  kNames[static_cast<int>(dependency)]),
      "Set memory.kind to none, rmt or armt.");
}

/// Part of a stream between closed boundaries: segments [begin, end).
struct Window {
  int32_t number = 0, begin = 0, end = 0;
};

/// What all ranks know alike.
struct ScheduleInput {
  Dependency dependency;
  bool chained;  ///< waits_for_previous_segment(dependency)
  Extent extent;
  std::vector<bool> closed;
  MeshShape mesh;
  Policy policy;

  int32_t rank_of(int32_t segment) const { return segment % mesh.segment; }
  /// An adjoint crosses the boundary before this segment.
  bool open(int32_t segment) const { return chained && segment > 0 && segment < extent.segments && !closed[segment]; }
  /// A window is run forward, then backward. Evaluation has no reason to stop in between.
  int32_t window_end(int32_t begin) const {
    if (!chained) return begin + 1;
    int32_t end = begin + 1;
    while (end < extent.segments && !(policy.backward && closed[end])) ++end;
    return end;
  }
  bool thinned() const { return policy.backward && policy.recompute && policy.boundaries > 0; }
  /// The group of segments whose states are kept together: all of a window where boundaries are not thinned.
  int32_t group(const Window& w, int32_t segment) const {
    return thinned() ? (segment - w.begin) / policy.boundaries : 0;
  }
  int32_t group_begin(const Window& w, int32_t group) const { return w.begin + group * policy.boundaries; }
  int32_t group_end(const Window& w, int32_t segment) const {
    return thinned() ? std::min(w.end, group_begin(w, group(w, segment) + 1)) : w.end;
  }
  /// A second sweep goes over it: over all groups but the last, whose backward comes next.
  bool rebuilt(const Window& w, int32_t segment) const { return group_end(w, segment) < w.end; }
  /// Recomputed before its backward. A rank's last segment of a group is not: its backward comes next.
  bool recomputed(const Window& w, int32_t segment) const {
    return policy.backward && policy.recompute && segment + mesh.segment < group_end(w, segment);
  }
};

/// A cell to run. `place` is the stream's number among those in flight, free for another stream once this one is done.
struct CellTask {
  Verb verb = Verb::Forward;
  int32_t stream = 0, segment = 0, place = 0;
  int32_t at = 0;  ///< number of the cell in the segment's depth
  Window window;   ///< the segment's
  int64_t ready = 0;
  int64_t chain = 0;  ///< units of work of the stream from this cell to its end, if no rank ever made it wait
};

class CellOrder {
 public:
  explicit CellOrder(const ScheduleInput& input)
      : input_(&input), ranks_(input.mesh.segment), depth_(input.extent.depth), queues_(ranks_) {
    const int32_t places = std::min(input.policy.in_flight, input.extent.streams);
    streams_.resize(places);
    for (int32_t place = 0; place < places; ++place) enter(place, 0);
  }

  /// The next task of any rank, by start time; false: all are done. A rank never waits while a task is ready for it.
  bool next(CellTask& task) {
    while (!wake_.empty()) {
      const auto [now, rank] = wake_.top();
      wake_.pop();
      Queue& queue = queues_[rank];
      if (queue.busy_until > now) continue;
      for (; !queue.later.empty() && queue.later.top().ready <= now; queue.later.pop())
        queue.now.push(queue.later.top());
      if (queue.now.empty()) continue;
      task = queue.now.top();
      queue.now.pop();
      const int64_t cost = task.verb == Verb::Backward ? kBackward : kForward;
      queue.busy_until = now + cost;
      wake_.emplace(queue.busy_until, rank);
      busy_ += cost;
      makespan_ = std::max(makespan_, queue.busy_until);
      complete(task, queue.busy_until);
      return true;
    }
    return false;
  }

  /// Whether `next` has given out this Forward, Rebuild or Backward.
  bool given(Verb verb, int32_t place, int32_t stream, int32_t segment, int32_t at) {
    Stream& b = streams_[place];
    if (b.number != stream || b.forward.forgot(segment)) return true;
    if (verb == Verb::Backward) return b.backward[segment].done > depth_ - 1 - at;
    return (verb == Verb::Forward ? b.forward : b.rebuild)[segment].done > at;
  }

  int64_t busy() const { return busy_; }
  int64_t makespan() const { return makespan_; }

 private:
  /// How far one sweep over a segment's cells has come: how many are given out (and one more may have been added), and
  /// when the last of them ends. (When another is given out, those before it have ended.)
  struct Sweep {
    int32_t done = 0, added = 0;
    int64_t end = 0;
  };
  /// By segment; those that nothing asks for any more are forgotten, so that a schedule does not grow with the sequence
  /// where its memory does not.
  class Sweeps {
   public:
    Sweep& operator[](int32_t segment) {
      while (std::ssize(sweeps_) <= segment - begin_) sweeps_.emplace_back();
      return sweeps_[static_cast<size_t>(segment - begin_)];
    }
    void forget_before(int32_t segment) {
      for (; begin_ < segment; ++begin_)
        if (!sweeps_.empty()) sweeps_.pop_front();
    }
    bool forgot(int32_t segment) const { return segment < begin_; }

   private:
    std::deque<Sweep> sweeps_;
    int32_t begin_ = 0;
  };
  /// A stream in flight.
  struct Stream {
    int32_t number = -1;
    int32_t opened = 0;          ///< windows up to this segment have been opened
    int32_t next_window = 0;     ///< number of the next one
    std::deque<Window> windows;  ///< under way
    Sweeps forward, rebuild, recompute, backward;
    int32_t unfinished_ranks = 0;  ///< not chained: ranks with segments left
  };
  static constexpr int64_t kForward = 1, kBackward = 2;  ///< units of work

  struct LaterFirst {  // priority_queue keeps the largest on top, so both orders are turned round
    bool operator()(const CellTask& a, const CellTask& b) const { return a.ready > b.ready; }
  };
  struct LessUrgent {
    // Backward frees memory and Recompute takes it. Of equals, the longest chain first (the highest-level-first rule of
    // Hu, "Parallel sequencing and assembly line problems", 1961): else the last stream ends alone on idle ranks.
    static auto rank(const CellTask& t) {
      const int urgency = t.verb == Verb::Backward ? 0 : t.verb == Verb::Recompute ? 2 : 1;
      return std::tuple(urgency, -t.chain, t.stream, t.segment);
    }
    bool operator()(const CellTask& a, const CellTask& b) const { return rank(a) > rank(b); }
  };
  struct Queue {
    std::priority_queue<CellTask, std::vector<CellTask>, LaterFirst> later;
    std::priority_queue<CellTask, std::vector<CellTask>, LessUrgent> now;
    int64_t busy_until = 0;
  };
  using Wake = std::tuple<int64_t, int32_t>;  // time, rank

  void add(Verb verb, int32_t place, int32_t segment, int32_t at, const Window& window, int64_t ready) {
    const int32_t rank = input_->rank_of(segment);
    queues_[rank].later.push(
        {verb, streams_[place].number, segment, place, at, window, ready, chain_from(verb, window, segment, at)});
    wake_.emplace(std::max(ready, queues_[rank].busy_until), rank);
  }

  int64_t chain_from(Verb verb, const Window& w, int32_t segment, int32_t at) const {
    const int64_t segments = input_->extent.segments;
    if (!input_->chained || !input_->policy.backward) return segments - segment + depth_ - 1 - at;
    const int64_t later_windows = (segments - w.end) * (kForward + kBackward);
    if (verb == Verb::Backward) return (segment - w.begin + at + 1) * kBackward + later_windows;
    if (verb == Verb::Recompute)
      return (depth_ - at) * kForward + (segment - w.begin + depth_) * kBackward + later_windows;
    return (w.end - segment + depth_ - 1 - at) * kForward + (w.end - w.begin + depth_ - 1) * kBackward + later_windows;
  }

  void enter(int32_t place, int64_t time) {
    Stream& b = streams_[place];
    b = {};
    if (next_stream_ == input_->extent.streams) return;
    b.number = next_stream_++;
    if (!input_->chained) {
      b.unfinished_ranks = std::min(ranks_, input_->extent.segments);
      for (int32_t s = 0; s < b.unfinished_ranks; ++s) add(Verb::Forward, place, s, 0, {s, s, s + 1}, time);
      return;
    }
    open_windows(place, time);
  }

  void open_windows(int32_t place, int64_t time) {
    Stream& b = streams_[place];
    while (b.opened < input_->extent.segments && std::ssize(b.windows) < input_->policy.windows) {
      const int32_t begin = b.opened;
      b.windows.push_back({b.next_window++, begin, input_->window_end(begin)});
      b.opened = b.windows.back().end;
      b.forward[begin].end = time;
      try_forward(place, begin);
    }
  }

  const Window& window_of(const Stream& b, int32_t segment) const {
    return *std::find_if(b.windows.begin(), b.windows.end(), [&](const Window& w) { return segment < w.end; });
  }

  // What a cell waits for. Each is tried whenever something that it may wait for is given out, and added once.

  void try_forward(int32_t place, int32_t segment) {
    Stream& b = streams_[place];
    if (segment >= b.opened) return;
    Sweep& own = b.forward[segment];
    int64_t ready = own.end;
    if (!wants_more(own)) return;
    if (own.done == 0 && segment >= ranks_ && !after(b.forward[segment - ranks_], depth_, ready)) return;
    if (segment > 0 && !after(b.forward[segment - 1], own.done + 1, ready)) return;
    add(Verb::Forward, place, segment, own.added++, window_of(b, segment), ready);
  }

  void try_rebuild(int32_t place, const Window& w, int32_t segment) {
    Stream& b = streams_[place];
    if (segment < w.begin || segment >= w.end || !input_->rebuilt(w, segment)) return;
    Sweep& own = b.rebuild[segment];
    int64_t ready = own.end;
    if (!wants_more(own)) return;
    const int32_t group = input_->group(w, segment), begin = input_->group_begin(w, group);
    if (own.done == 0 && !after(sweep_before(b, w, segment), depth_, ready)) return;
    if (segment > begin && !after(b.rebuild[segment - 1], own.done + 1, ready)) return;
    const int32_t through = input_->group_begin(w, group + input_->policy.windows);
    if (segment == begin && own.done == 0 && through < w.end && !after(b.backward[through], depth_, ready)) return;
    add(Verb::Rebuild, place, segment, own.added++, w, ready);
  }

  /// A rank's sweep over the segment that it goes through right before it rebuilds this one: its one before in the
  /// group, or its last one in the nearest group behind that has one.
  const Sweep& sweep_before(Stream& b, const Window& w, int32_t segment) const {
    const auto last_before = [&](int32_t end) { return end - 1 - (end - 1 - segment) % ranks_; };  // of the rank
    const int32_t end = input_->group_end(w, segment), behind = last_before(end) + ranks_;
    if (segment - ranks_ >= input_->group_begin(w, input_->group(w, segment))) return b.rebuild[segment - ranks_];
    if (behind >= w.end) return b.forward[last_before(end)];
    const int32_t last = last_before(input_->group_end(w, behind));
    return input_->rebuilt(w, behind) ? b.rebuild[last] : b.forward[last];
  }
  /// The first segment that the rank goes through in its group.
  int32_t first_of_group(const Window& w, int32_t segment) const {
    const int32_t begin = input_->group_begin(w, input_->group(w, segment));
    return begin + (segment - begin) % ranks_;
  }

  void try_recompute(int32_t place, const Window& w, int32_t segment) {
    Stream& b = streams_[place];
    if (segment < w.begin || segment >= w.end || !input_->recomputed(w, segment)) return;
    Sweep& own = b.recompute[segment];
    int64_t ready = own.end;
    if (!wants_more(own) || !after(b.backward[segment + ranks_], depth_, ready)) return;
    add(Verb::Recompute, place, segment, own.added++, w, ready);
  }

  void try_backward(int32_t place, const Window& w, int32_t segment) {
    Stream& b = streams_[place];
    if (!input_->policy.backward || segment < w.begin || segment >= w.end) return;
    Sweep& own = b.backward[segment];
    int64_t ready = own.end;
    if (!wants_more(own)) return;
    const Sweep& rows = input_->recomputed(w, segment) ? b.recompute[segment]
                        : input_->rebuilt(w, segment)  ? b.rebuild[segment]
                                                       : b.forward[segment];
    if (!after(rows, depth_, ready)) return;
    if (segment + ranks_ < w.end && !after(b.backward[segment + ranks_], depth_, ready)) return;
    if (segment + 1 < w.end && !after(b.backward[segment + 1], own.done + 1, ready)) return;
    add(Verb::Backward, place, segment, depth_ - 1 - own.added++, w, ready);
  }

  bool wants_more(const Sweep& sweep) const { return sweep.added == sweep.done && sweep.done < depth_; }

  /// Whether `count` cells of the sweep are given out; `ready` is moved behind the end of the last of them.
  static bool after(const Sweep& sweep, int32_t count, int64_t& ready) {
    if (sweep.done < count) return false;
    if (sweep.done == count) ready = std::max(ready, sweep.end);
    return true;
  }

  static Sweep& sweep_of(Stream& b, const CellTask& task) {
    switch (task.verb) {
      case Verb::Forward:
        return b.forward[task.segment];
      case Verb::Rebuild:
        return b.rebuild[task.segment];
      case Verb::Recompute:
        return b.recompute[task.segment];
      default:
        return b.backward[task.segment];
    }
  }

  /// `task` ends at `end`: tries what may have waited for it.
  void complete(const CellTask& task, int64_t end) {
    if (!input_->chained) return complete_alone(task, end);
    Stream& b = streams_[task.place];
    const int32_t place = task.place, s = task.segment;
    const Window w = task.window;
    Sweep& sweep = sweep_of(b, task);
    ++sweep.done;
    sweep.end = end;
    const bool last = sweep.done == depth_;
    if (task.verb == Verb::Forward) {
      for (const int32_t segment : {s, s + 1, s + ranks_}) try_forward(place, segment);
      if (last && !input_->policy.backward) {
        if (s + 1 == w.end) return enter(place, end);
        forget_before(b, s + 1);
      }
    }
    if (task.verb == Verb::Forward || task.verb == Verb::Rebuild) {
      for (const int32_t segment : {s, s + 1, s + ranks_}) try_rebuild(place, w, segment);
      if (last && input_->thinned()) {  // The rank may have come to the end of the groups behind one.
        const int32_t first = first_of_group(w, s);
        try_rebuild(place, w, first);
        if (first - ranks_ >= w.begin) try_rebuild(place, w, first_of_group(w, first - ranks_));
      }
    }
    if (task.verb == Verb::Recompute) try_recompute(place, w, s);
    if (last || task.verb == Verb::Backward) try_backward(place, w, s);
    if (task.verb != Verb::Backward) return;
    try_backward(place, w, s - 1);
    if (!last) return;
    try_backward(place, w, s - ranks_);
    try_recompute(place, w, s - ranks_);
    if (const int32_t before = input_->group(w, s) - input_->policy.windows; input_->thinned() && before >= 0)
      try_rebuild(place, w, input_->group_begin(w, before));
    if (s == w.begin) close_windows(place, end);
  }

  /// Segments from this one on wait for no more than a round of the ranks before it.
  void forget_before(Stream& b, int32_t segment) const {
    for (Sweeps* sweeps : {&b.forward, &b.rebuild, &b.recompute, &b.backward}) sweeps->forget_before(segment - ranks_);
  }

  /// Windows leave in order, also when a later one is done first: so their numbers, modulo Policy::windows, are theirs.
  void close_windows(int32_t place, int64_t end) {
    Stream& b = streams_[place];
    while (!b.windows.empty() && b.backward[b.windows.front().begin].done == depth_) b.windows.pop_front();
    forget_before(b, b.windows.empty() ? b.opened : b.windows.front().begin);
    if (b.windows.empty() && b.opened == input_->extent.segments) return enter(place, end);
    open_windows(place, end);
  }

  /// Where no segment waits for another: each rank goes through its own, one at a time.
  void complete_alone(const CellTask& task, int64_t end) {
    const int32_t place = task.place, next = task.segment + ranks_;
    if (input_->policy.backward && task.verb == Verb::Forward)
      return add(Verb::Backward, place, task.segment, 0, task.window, end);
    if (next < input_->extent.segments) return add(Verb::Forward, place, next, 0, {next, next, next + 1}, end);
    if (--streams_[place].unfinished_ranks == 0) enter(place, end);
  }

  const ScheduleInput* input_;
  int32_t ranks_, depth_;
  int32_t next_stream_ = 0;
  int64_t busy_ = 0, makespan_ = 0;
  std::vector<Stream> streams_;  // by place
  std::vector<Queue> queues_;    // by rank
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wake_;
};

}  // namespace memring
