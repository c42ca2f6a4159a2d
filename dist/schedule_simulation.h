// The order of the cells over all ranks of one segment axis: a greedy simulation in integers, which every rank runs
// alike. Private to schedule.cpp, which turns one rank's tasks into actions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "dist/schedule.h"

namespace memring {

/// Whether a cell waits for the whole depth of the segment before it or for no other segment (None). LayerLocal could
/// do with less: its cells, cut by layers, wait for (s-1, l) only. The other dependencies hook in here and in
/// CellOrder::complete: Halo, Affine and Append wait inside a layer for other ranks' rows.
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
  /// A window is run forward, then backward, before the next one begins. Evaluation has no reason to stop in between.
  int32_t window_end(int32_t begin) const {
    if (!chained) return begin + 1;
    int32_t end = begin + 1;
    while (end < extent.segments && !(policy.backward && closed[end])) ++end;
    return end;
  }
};

/// A cell to run. `place` is the stream's number among those in flight, free for another stream once this one is done.
struct Task {
  Verb verb = Verb::Forward;
  int32_t stream = 0, segment = 0, place = 0;
  int32_t window_end = 0;  ///< of the segment's window
  int64_t ready = 0;
  int64_t chain = 0;  ///< units of work of the stream from this cell to its end, if no rank ever made it wait
};

class CellOrder {
 public:
  explicit CellOrder(const ScheduleInput& input) : input_(&input), ranks_(input.mesh.segment), queues_(ranks_) {
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
  bool given(Verb verb, int32_t place, int32_t stream, int32_t segment) const {
    const Stream& b = streams_[place];
    if (b.number != stream) return true;
    return verb == Verb::Forward ? segment < b.forward : segment < b.begin || segment > b.backward;
  }

  int64_t busy() const { return busy_; }
  int64_t makespan() const { return makespan_; }

 private:
  /// A stream in flight. `forward` and `backward` are the next segments of the window [begin, end) to go either way.
  struct Stream {
    int32_t number = -1;
    int32_t begin = 0, end = 0, forward = 0, backward = 0;
    int64_t backward_ready = 0;
    std::vector<int64_t> recomputed;  ///< per rank: when its recomputed cell was done, or kNot
    int32_t unfinished_ranks = 0;     ///< not chained: ranks with segments left
  };
  static constexpr int64_t kNot = -1;
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

  void add(Verb verb, int32_t place, int32_t segment, int64_t ready) {
    const Stream& b = streams_[place];
    const int32_t rank = input_->rank_of(segment);
    const int32_t end = input_->chained ? b.end : segment + 1;
    queues_[rank].later.push({verb, b.number, segment, place, end, ready, chain_from(verb, b, segment)});
    wake_.emplace(std::max(ready, queues_[rank].busy_until), rank);
  }

  int64_t chain_from(Verb verb, const Stream& b, int32_t segment) const {
    const int64_t segments = input_->extent.segments;
    if (!input_->chained || !input_->policy.backward) return segments - segment;
    const int64_t later_windows = (segments - b.end) * (kForward + kBackward);
    const int64_t backward = (segment - b.begin + 1) * kBackward;
    if (verb == Verb::Backward) return backward + later_windows;
    if (verb == Verb::Recompute) return kRecompute + backward + later_windows;
    return (b.end - segment) * kForward + (b.end - b.begin) * kBackward + later_windows;
  }

  void enter(int32_t place, int64_t time) {
    Stream& b = streams_[place];
    if (next_stream_ == input_->extent.streams) {
      b.number = -1;
      return;
    }
    b.number = next_stream_++;
    b.recomputed.assign(ranks_, kNot);
    if (input_->chained) {
      open_window(place, 0, time);
    } else {
      b.unfinished_ranks = std::min(ranks_, input_->extent.segments);
      for (int32_t segment = 0; segment < b.unfinished_ranks; ++segment) add(Verb::Forward, place, segment, time);
    }
  }

  void open_window(int32_t place, int32_t begin, int64_t time) {
    Stream& b = streams_[place];
    b.begin = b.forward = begin;
    b.end = input_->window_end(begin);
    b.backward = b.end;
    add(Verb::Forward, place, begin, time);
  }

  /// What a cell waits for stands here, the other way round: `task` ends at `end`, and what waited for it last is
  /// ready.
  void complete(const Task& task, int64_t end) {
    if (!input_->chained) return complete_alone(task, end);
    Stream& b = streams_[task.place];
    const int32_t place = task.place, segment = task.segment;
    const bool recompute = input_->policy.recompute;
    switch (task.verb) {
      case Verb::Forward:
        b.forward = segment + 1;
        if (segment + 1 < b.end) return add(Verb::Forward, place, segment + 1, end);
        if (!input_->policy.backward) return enter(place, end);
        // The sweep is complete. The last segment's rows are kept; every other rank may recompute its last segment.
        b.backward = segment;
        add(Verb::Backward, place, segment, end);
        for (int32_t s = segment - 1; recompute && s >= b.begin && s > segment - ranks_; --s)
          add(Verb::Recompute, place, s, end);
        return;
      case Verb::Recompute:
        b.recomputed[input_->rank_of(segment)] = end;
        if (b.backward == segment) add(Verb::Backward, place, segment, std::max(end, b.backward_ready));
        return;
      default:
        break;
    }
    b.recomputed[input_->rank_of(segment)] = kNot;
    b.backward = segment - 1;
    b.backward_ready = end;
    if (segment == b.begin)
      return b.end == input_->extent.segments ? enter(place, end) : open_window(place, b.end, end);
    // A rank's next cell is recomputed when its earlier one is through: at most one waits per stream and rank.
    if (recompute && segment - ranks_ >= b.begin) add(Verb::Recompute, place, segment - ranks_, end);
    const int64_t rows = recompute ? b.recomputed[input_->rank_of(segment - 1)] : end;
    if (rows != kNot) add(Verb::Backward, place, segment - 1, std::max(end, rows));
  }

  /// The same where no segment waits for another: each rank goes through its own, one at a time.
  void complete_alone(const Task& task, int64_t end) {
    if (input_->policy.backward && task.verb == Verb::Forward)
      return add(Verb::Backward, task.place, task.segment, end);
    if (task.segment + ranks_ < input_->extent.segments)
      return add(Verb::Forward, task.place, task.segment + ranks_, end);
    if (--streams_[task.place].unfinished_ranks == 0) enter(task.place, end);
  }

  const ScheduleInput* input_;
  int32_t ranks_;
  int32_t next_stream_ = 0;
  int64_t busy_ = 0, makespan_ = 0;
  std::vector<Stream> streams_;  // by place
  std::vector<Queue> queues_;    // by rank
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wake_;
};

}  // namespace memring
