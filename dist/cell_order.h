// The order of the cells over all ranks of one segment axis: a greedy simulation in integers (list scheduling), which
// every rank runs alike.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>

#include "dist/precedence.h"

namespace memring::scheduling {

/// A run to be done. `place` is the stream's number among those in flight, free for another stream once this one is
/// done.
struct CellTask {
  CellRun run;
  int32_t stream = 0, place = 0;
  int64_t ready = 0;
  int64_t chain = 0;  ///< Precedence::chain_from
};

class CellOrder {
 public:
  explicit CellOrder(const Precedence&);  ///< which must stay

  /// The next task of any rank, by start time; false: all are done. A rank never waits while a task is ready for it.
  bool next(CellTask&);
  /// Whether `next` has given out this run of stream `number`.
  bool given(const CellRun&, int32_t place, int32_t number);

  int64_t busy() const { return busy_; }
  int64_t makespan() const { return makespan_; }

 private:
  /// How far one verb has come over a segment's cells: how many are given out, how many have been proposed (one more at
  /// the most), when the last of them ends (when another is given out, those before it have ended), and who waits.
  struct Sweep {
    int32_t done = 0, proposed = 0;
    int64_t end = 0;
    std::vector<CellRun> waiting;
  };
  /// By segment; those that nothing asks for any more are forgotten, so that a schedule does not grow with the sequence
  /// where its memory does not. A reference lasts until the next one is asked for.
  class Sweeps {
   public:
    Sweep& operator[](int32_t segment) {
      while (std::ssize(sweeps_) <= segment - begin_) sweeps_.emplace_back();
      return sweeps_[static_cast<size_t>(segment - begin_)];
    }
    void forget_before(int32_t segment) {
      const int64_t old = segment - begin_, all = std::ssize(sweeps_);
      if (old <= 0 || 2 * old < all) return;  // the rest moves down: once, on the average
      sweeps_.erase(sweeps_.begin(), sweeps_.begin() + std::min(old, all));
      begin_ = segment;
    }
    bool forgot(int32_t segment) const { return segment < begin_; }

   private:
    std::vector<Sweep> sweeps_;
    int32_t begin_ = 0;
  };
  static constexpr int kSweeps = 4, kPasses = 2;
  struct StreamInFlight {
    int32_t number = -1;
    int32_t opened = 0, next_window = 0;  ///< windows up to this segment, and this number, have been opened
    int32_t oldest = 0;                   ///< segments before it are done
    std::array<std::array<Sweeps, kPasses>, kSweeps> sweeps;

    Sweeps& of(Verb verb, Pass pass) { return sweeps[static_cast<size_t>(verb)][static_cast<size_t>(pass)]; }
    Sweep& of(const CellRun& run) { return of(run.verb, run.pass)[run.segment]; }
  };

  struct LaterFirst {  // priority_queue keeps the largest on top, so both orders are turned round
    bool operator()(const CellTask& a, const CellTask& b) const { return a.ready > b.ready; }
  };
  struct LessUrgent {
    // Backward frees memory and Recompute takes it. Of equals, the longest chain first (the highest-level-first rule of
    // Hu, "Parallel sequencing and assembly line problems", 1961): else the last stream ends alone on idle ranks.
    static auto rank(const CellTask& t) {
      const int urgency = t.run.verb == Verb::Backward ? 0 : t.run.verb == Verb::Recompute ? 2 : 1;
      return std::tuple(urgency, -t.chain, t.stream, t.run.pass, t.run.segment);
    }
    bool operator()(const CellTask& a, const CellTask& b) const { return rank(a) > rank(b); }
  };
  struct Queue {
    std::priority_queue<CellTask, std::vector<CellTask>, LaterFirst> later;
    std::priority_queue<CellTask, std::vector<CellTask>, LessUrgent> now;
    int64_t busy_until = 0;
  };
  using Wake = std::tuple<int64_t, int32_t>;  // time, rank

  void enter(int32_t place, int64_t time);
  void open_windows(int32_t place, int64_t time);
  void propose(int32_t place, Verb, Pass, int32_t segment);
  void consider(int32_t place, const CellRun&);
  void complete(const CellTask&, int64_t end);
  void close_windows(int32_t place, int64_t end);
  bool done(StreamInFlight&, Verb, int32_t segment);

  const Precedence* rules_;
  int32_t ranks_, depth_;
  int32_t next_stream_ = 0;
  int64_t busy_ = 0, makespan_ = 0;
  std::vector<StreamInFlight> streams_;  // by place
  std::vector<Queue> queues_;            // by rank
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wake_;
  std::vector<CellRun> woken_;
};

}  // namespace memring::scheduling
