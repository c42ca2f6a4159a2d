// Progress: what a rank is doing, kept in memory that all ranks of its host see: when MPI hangs with one of them, any
// other can still tell where all of them stand.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dist/schedule.h"

namespace memring {

/// The part of a run that a rank is in.
enum class Phase : uint8_t {
  Start,
  Load,          ///< of a checkpoint
  Schedule,      ///< its actions: `verb` and the cell say more
  SumGradients,  ///< over the ranks, and their norm: what the schedule's Verb::Reduce has not done
  Update,        ///< of weights
  Save,
  End  ///< the rank is done; its process may go away
};

/// Written by the main thread before each action and inside long ones (the writer of a checkpoint adds its own work):
/// cheap and lock-free. A change of step, action or work is progress; the rest says where. Waiting changes nothing.
struct Progress {
  std::atomic<int32_t> rank{0}, process{0};  ///< process 0: not one that this host's other ranks can see
  std::atomic<int64_t> pulse{0};             ///< counted up by the rank's watchdog as long as the process runs
  std::atomic<int64_t> step{0}, action{0};
  std::atomic<int64_t> work{0};                ///< layers, pieces of operators and of files
  std::atomic<int32_t> peer{-1}, segment{-1};  ///< below 0: none
  std::atomic<int32_t> layer{-1}, layers{0};   ///< as in Cell, -1 and `layers` being the two ends; 0 layers: unknown
  std::atomic<Phase> phase{Phase::Start};
  std::atomic<Verb> verb{Verb::Forward};

  void begin() { action.fetch_add(1, std::memory_order_relaxed); }
  void advance() { work.fetch_add(1, std::memory_order_relaxed); }
  void enter(Phase now) {
    phase = now;
    begin();
  }
  int64_t total() const { return step.load() + action.load() + work.load(); }
};

/// For those whose caller need not be watched.
inline void advance(Progress* progress) {
  if (progress) progress->advance();
}

/// Notes for its scope that this rank waits for another; peer -1: for all of a group. Null: nowhere.
class NotedWait {
 public:
  explicit NotedWait(Progress* progress, int peer = -1) : progress_(progress) {
    if (!progress_) return;
    verb_ = progress_->verb.exchange(Verb::Wait);
    peer_ = progress_->peer.exchange(peer);
  }
  ~NotedWait() {
    if (!progress_) return;
    progress_->peer = peer_;
    progress_->verb = verb_;
  }
  NotedWait(const NotedWait&) = delete;
  NotedWait& operator=(const NotedWait&) = delete;

 private:
  Progress* progress_;
  Verb verb_ = Verb::Wait;
  int peer_ = -1;
};

/// Where other ranks are to be waited for, so that a rank that stays here is seldom the cause.
bool waits(const Progress&);
/// "step 12, action 345: Wait, peer rank 2, segment 17, layer 3"; the ends of the model have names in place of numbers
std::string describe(const Progress&);

/// The ranks of one host side by side. A handle: who makes one keeps the memory as long as anybody uses it.
class Board {
 public:
  static size_t bytes(int ranks);
  /// `memory` is zero before the first rank makes its board, and shared by `ranks` ranks of which this is number
  /// `mine`.
  Board(void* memory, int ranks, int mine);

  std::span<Progress> ranks() const { return {ranks_, count_}; }
  Progress& mine() const { return ranks_[mine_]; }
  /// True for the first that asks: it speaks for the host and ends its process with `code`, as all others will,
  /// silently.
  bool claim(int code) const;
  int claimed() const;  ///< the code; 0: nobody speaks

 private:
  std::atomic<int32_t>* code_;
  Progress* ranks_;
  size_t count_, mine_;
};

}  // namespace memring
