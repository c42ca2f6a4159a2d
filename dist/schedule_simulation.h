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
  /// Recomputed before its backward. A rank's last segment of a window is not: its backward comes next.
  bool recomputed(int32_t segment, int32_t window_end) const {
    return policy.backward && policy.recompute && segment + mesh.segment < window_end;
  }
};

/// Part of a stream between closed boundaries: segments [begin, end).
struct Window {
  int32_t number = 0, begin = 0, end = 0;
};

/// A cell to run. `place` is the stream's number among those in flight, free for another stream once this one is done.
struct Task {
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
  bool next(Task& task) {
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
      const int64_t cost = task.verb == Verb::Backward ? kBackward : task.verb == Verb::Forward ? kForward : kRecompute;
      queue.busy_until = now + cost;
      wake_.emplace(queue.busy_until, rank);
      busy_ += cost;
      makespan_ = std::max(makespan_, queue.busy_until);
      complete(task, queue.busy_until);
      return true;
    }
    return false;
  }

  /// Whether `next` has given out this Forward or Backward.
  bool given(Verb verb, int32_t place, int32_t stream, int32_t segment, int32_t at) const {
    const Stream& b = streams_[place];
    if (b.number != stream) return true;
    return verb == Verb::Forward ? b.forward[segment].done > at : b.backward[segment].done > depth_ - 1 - at;
  }

  int64_t busy() const { return busy_; }
  int64_t makespan() const { return makespan_; }

 private:
  /// How far one sweep over a segment's cells has come: how many are given out, and when the last of them ends. (When
  /// another cell is given out, all that came before it in its segment have ended.)
  struct Sweep {
    int32_t done = 0;
    int64_t end = 0;
  };
  /// A stream in flight.
  struct Stream {
    int32_t number = -1;
    int32_t opened = 0;                               ///< windows up to this segment have been opened
    int32_t next_window = 0;                          ///< number of the next one
    std::deque<Window> windows;                       ///< under way
    std::vector<Sweep> forward, recompute, backward;  ///< by segment
    int32_t unfinished_ranks = 0;                     ///< not chained: ranks with segments left
  };
  static constexpr int64_t kForward = 1, kRecompute = 1, kBackward = 2;  ///< units of work

  struct LaterFirst {  // priority_queue keeps the largest on top, so both orders are turned round
    bool operator()(const Task& a, const Task& b) const { return a.ready > b.ready; }
  };
  struct LessUrgent {
    // Backward frees memory and Recompute takes it. Of equals, the longest chain first (the highest-level-first rule of
    // Hu, "Parallel sequencing and assembly line problems", 1961): else the last stream ends alone on idle ranks.
    static auto rank(const Task& t) {
      const int urgency = t.verb == Verb::Backward ? 0 : t.verb == Verb::Forward ? 1 : 2;
      return std::tuple(urgency, -t.chain, t.stream, t.segment);
    }
    bool operator()(const Task& a, const Task& b) const { return rank(a) > rank(b); }
  };
  struct Queue {
    std::priority_queue<Task, std::vector<Task>, LaterFirst> later;
    std::priority_queue<Task, std::vector<Task>, LessUrgent> now;
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
      return (depth_ - at) * kRecompute + (segment - w.begin + depth_) * kBackward + later_windows;
    return (w.end - segment + depth_ - 1 - at) * kForward + (w.end - w.begin + depth_ - 1) * kBackward + later_windows;
  }

  void enter(int32_t place, int64_t time) {
    Stream& b = streams_[place];
    b = {};
    if (next_stream_ == input_->extent.streams) return;
    b.number = next_stream_++;
    const int32_t segments = input_->extent.segments;
    if (!input_->chained) {
      b.unfinished_ranks = std::min(ranks_, segments);
      for (int32_t s = 0; s < b.unfinished_ranks; ++s) add(Verb::Forward, place, s, 0, {s, s, s + 1}, time);
      return;
    }
    for (auto* sweeps : {&b.forward, &b.recompute, &b.backward}) sweeps->resize(static_cast<size_t>(segments));
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

  // What a cell waits for. Each is tried when one of the cells that it waits for is given out, so it is added with the
  // last of them, and once.

  void try_forward(int32_t place, int32_t segment) {
    const Stream& b = streams_[place];
    if (segment >= b.opened || b.forward[segment].done == depth_) return;
    const int32_t at = b.forward[segment].done;
    int64_t ready = b.forward[segment].end;
    if (at == 0 && segment >= ranks_ && !after(b.forward[segment - ranks_], depth_, ready)) return;
    if (segment > 0 && !after(b.forward[segment - 1], at + 1, ready)) return;
    add(Verb::Forward, place, segment, at, window_of(b, segment), ready);
  }

  void try_backward(int32_t place, int32_t segment) {
    const Stream& b = streams_[place];
    const Window& w = window_of(b, segment);
    const int32_t done = b.backward[segment].done;
    if (done == depth_) return;
    int64_t ready = b.backward[segment].end;
    if (done == 0) {
      const Sweep& rows = input_->recomputed(segment, w.end) ? b.recompute[segment] : b.forward[segment];
      if (!after(rows, depth_, ready)) return;
      if (segment + ranks_ < w.end && !after(b.backward[segment + ranks_], depth_, ready)) return;
    }
    if (segment + 1 < w.end && !after(b.backward[segment + 1], done + 1, ready)) return;
    add(Verb::Backward, place, segment, depth_ - 1 - done, w, ready);
  }

  /// Whether `count` cells of the sweep are given out; `ready` is moved behind the end of the last of them.
  static bool after(const Sweep& sweep, int32_t count, int64_t& ready) {
    if (sweep.done < count) return false;
    if (sweep.done == count) ready = std::max(ready, sweep.end);
    return true;
  }

  /// `task` ends at `end`: tries what may have waited for it.
  void complete(const Task& task, int64_t end) {
    if (!input_->chained) return complete_alone(task, end);
    Stream& b = streams_[task.place];
    const int32_t place = task.place, s = task.segment;
    const Window w = task.window;
    const auto advance = [&](Sweep& sweep) { return sweep = {sweep.done + 1, end}, sweep.done; };
    const bool next_is_own = ranks_ == 1 && depth_ == 1;  // then the neighbour is tried once, not twice
    if (task.verb == Verb::Forward) {
      const int32_t done = advance(b.forward[s]);
      try_forward(place, s);
      if (s + 1 < b.opened && b.forward[s + 1].done == done - 1) try_forward(place, s + 1);
      if (done < depth_) return;
      if (s + ranks_ < b.opened && !next_is_own) try_forward(place, s + ranks_);
      if (input_->policy.backward && !input_->recomputed(s, w.end)) try_backward(place, s);
      if (!input_->policy.backward && s + 1 == w.end) enter(place, end);
    } else if (task.verb == Verb::Recompute) {
      const int32_t done = advance(b.recompute[s]);
      if (done == depth_) return try_backward(place, s);
      add(Verb::Recompute, place, s, done, w, end);
    } else {
      const int32_t done = advance(b.backward[s]), before = s - ranks_;
      try_backward(place, s);
      if (s > w.begin && b.backward[s - 1].done == done - 1) try_backward(place, s - 1);
      if (done < depth_) return;
      if (before >= w.begin && input_->recomputed(before, w.end))
        add(Verb::Recompute, place, before, 0, w, end);
      else if (before >= w.begin && !next_is_own)
        try_backward(place, before);
      if (s == w.begin) close_windows(place, end);
    }
  }

  /// Windows leave in order, also when a later one is done first: so their numbers, modulo Policy::windows, are theirs.
  void close_windows(int32_t place, int64_t end) {
    Stream& b = streams_[place];
    while (!b.windows.empty() && b.backward[b.windows.front().begin].done == depth_) b.windows.pop_front();
    if (b.windows.empty() && b.opened == input_->extent.segments) return enter(place, end);
    open_windows(place, end);
  }

  /// Where no segment waits for another: each rank goes through its own, one at a time.
  void complete_alone(const Task& task, int64_t end) {
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
