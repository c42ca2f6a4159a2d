// Turns the order of the cells into one rank's actions: slots, messages and frees around each cell.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <queue>
#include <vector>

#include "dist/cell_order.h"

namespace memring::scheduling {

/// Slots of one kind; the lowest free one is taken, so `used` is the most that were taken at a time.
class SlotTable {
 public:
  int32_t take() {
    if (free_.empty()) {
      holders_.push_back(1);
      return used() - 1;
    }
    const int32_t slot = free_.top();
    free_.pop();
    holders_[static_cast<size_t>(slot)] = 1;
    return slot;
  }
  void share(int32_t slot) { ++holders_[static_cast<size_t>(slot)]; }  ///< one holder more
  /// One holder less; whether that was the last.
  bool give(int32_t slot) {
    if (--holders_[static_cast<size_t>(slot)] > 0) return false;
    free_.push(slot);
    return true;
  }
  int32_t used() const { return static_cast<int32_t>(holders_.size()); }

 private:
  std::vector<int32_t> holders_;  // of each slot
  std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> free_;
};

class RankActions {
 public:
  RankActions(const Precedence&, int32_t rank);  ///< the rules must stay

  /// As Schedule::next_actions. `order`: the rank's own, from its start.
  bool next_actions(std::vector<Action>& out, CellOrder& order);
  /// One task of the order, which all ranks may share, and what is left behind the last one.
  void follow(std::vector<Action>& out, const CellTask& next, CellOrder& order);
  void end(std::vector<Action>& out);
  int32_t used(SlotKind kind) const { return tables_[static_cast<size_t>(kind)].used(); }

  static constexpr int32_t kSentKinds = 3;  ///< states, rebuilt states, adjoints

 private:
  /// What this rank holds of a group of segments under way. Backward takes segments in reverse, so the lists are
  /// stacks; within a segment there is a slot for each of its cells, or one for all of them.
  struct Holdings {
    std::vector<std::vector<int32_t>> kept;         ///< states that Rebuild will read (also of groups not under way)
    std::vector<std::vector<int32_t>> states;       ///< that Recompute will read
    std::vector<int32_t> rows;                      ///< that Backward will read
    int32_t forward = kNoSlot, backward = kNoSlot;  ///< hidden rows of the segment under way
    // One rank only: what the next segment's cells read, in the first sweep, the second and backward.
    std::vector<int32_t> next_states, next_rebuilt, next_adjoints;
  };
  /// Of a stream with Append, by segment: the memories that its decodes here read, and the adjoints that they add to.
  struct Memories {
    std::vector<int32_t> states, adjoints;
  };
  /// A message, the run that reads it, and the place of their stream.
  struct Sent {
    Action send;
    CellRun reader;
    int32_t place;
  };
  /// A memory, or another rank's part of an adjoint. `before`: how many cells here come before it.
  struct Arrival {
    Action receive;
    int32_t place;
    int64_t before;
  };

  SlotTable& table(SlotKind kind) { return tables_[static_cast<size_t>(kind)]; }
  Cell cell_of(const CellTask& t) const;
  size_t flight(int32_t place, int32_t segment) const;
  Holdings& held(int32_t place, int32_t segment);
  bool alone() const { return rules_->ranks() == 1; }
  bool ends_segment(const CellTask& t) const { return t.run.level + 1 == rules_->depth(); }

  Action message(Verb, const Cell&, int32_t place, const CellRun& reader, SlotKind, int32_t slot, int32_t peer) const;
  Action arrival(Verb, const CellTask&, const Wait&, int32_t slot) const;
  void emit_free(std::vector<Action>& out, const Cell&, SlotKind, int32_t slot);
  int32_t post_receive(std::vector<Action>& out, const CellTask& next);
  void hand_over(std::vector<Action>& out, const Cell&, int32_t place, const CellRun& reader, SlotKind, int32_t slot);
  std::vector<int32_t>& handed_over(Holdings&, Verb reader) const;
  int32_t take(std::vector<Action>& out, const CellTask&, Takes);
  // Append, in rank_memories.cpp; the others have nothing to do there.
  Cell memory_cell(int32_t stream, int32_t segment) const;
  int32_t& held_memory(int32_t place, int32_t segment);
  int32_t& held_adjoint(int32_t place, int32_t segment);
  void receive_from(std::vector<Action>& out, const CellTask& writer);
  void take_arrivals(std::vector<Action>& out, const CellTask& next);
  void send_at_once(std::vector<Action>& out, const Cell&, int32_t place, const CellRun& reader, SlotKind,
                    int32_t slot);
  void keep_memory(std::vector<Action>& out, const CellTask&, int32_t slot);
  void free_memories(std::vector<Action>& out, const CellTask&);
  int32_t clear_adjoint(std::vector<Action>& out, int32_t stream, int32_t place, int32_t segment);
  void clear_adjoints(std::vector<Action>& out, const CellTask&);
  void complete_adjoints(std::vector<Action>& out, const CellTask&);
  void emit_forward(std::vector<Action>& out, const CellTask&);
  void emit_recompute(std::vector<Action>& out, const CellTask&);
  void emit_backward(std::vector<Action>& out, const CellTask&);
  void emit(std::vector<Action>& out, const CellTask&);
  void send(std::vector<Action>& out, const CellTask& reader);
  void walk_buffered(std::vector<Action>& out, const CellTask& next, bool completes, CellOrder& order);
  void walk_in_order(std::vector<Action>& out, const CellTask& next, bool completes, CellOrder& order);
  template <class F>
  void settle(std::vector<Action>& out, const F& ended);
  bool completes_layers(const CellTask&);
  std::vector<Cell> parts_of(const Cell&) const;
  void emit_reduces(std::vector<Action>& out);

  const Precedence* rules_;
  int32_t rank_;
  std::array<SlotTable, kSlotKinds> tables_;
  std::vector<Holdings> holdings_;  // by place, window and group
  std::vector<Memories> memories_;  // by place; empty unless Append
  std::vector<Sent> unsent_;        // Messages::InOrder: whose readers' turn is still to come
  std::vector<Sent> sent_;
  std::vector<int64_t> backward_left_;  // by cell of the depth: how many are still to come on all ranks
  std::vector<Cell> complete_;          // on all ranks, by runs of others: to be reduced
  std::optional<CellTask> task_;        // Messages::Buffered: to be emitted when the one after it is known
  bool task_completes_ = false;         // the gradients of its layers, on all ranks
  int32_t received_ = kNoSlot;          // the slot that `task_` reads and another rank fills
  std::vector<Arrival> arrivals_;       // Append: that nobody has waited for
  int64_t cells_ = 0;                   // that were emitted
};

}  // namespace memring::scheduling
