// The small machine on which the validator replays schedules: what slots hold, messages under way, a rank's place in
// its list. Messages are a rendezvous, the strictest of what MPI may do: a Send completes only when its receive has
// been posted. So every deadlock shows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "dist/precedence.h"
#include "dist/schedule_validator.h"

namespace memring::scheduling {

/// Of a state or adjoint, `position` is the boundary (before that segment) and `level` the cell; of rows, `position` is
/// the segment, and `level` the first cell above them: they are of those below. A memory stands at the boundary behind
/// its segment; of its adjoint, `parts` tells how many decodes have added to it.
struct Value {
  SlotKind kind = SlotKind::State;
  Pass pass = Pass::Decode;
  int32_t stream = 0, position = 0, level = 0;
  bool gradient = false;  ///< of hidden rows: theirs
  int32_t parts = 0;
  bool operator==(const Value&) const = default;
};

/// Messages from one rank to another with one tag: the n-th send meets the n-th receive.
struct Channel {
  int64_t sends = 0, receives = 0;
  std::map<int64_t, Value> under_way;
};

/// Under way; `number` is that in the channel.
struct Message {
  Channel* channel = nullptr;
  int64_t number = 0;
  int32_t peer = -1, tag = 0;
};

struct Slot {
  enum Status { Empty, Receiving, Full } status = Empty;
  Value value;
  bool read = false;
  std::vector<Message> messages = {};  ///< with a peer each: one that is received, or those that are sent
};

struct Rank {
  ActionSource source;
  std::vector<Action> actions;  ///< that the source gave last
  size_t next = 0;              ///< of them
  int64_t index = 0;            ///< of the next one in the whole list
  std::array<std::vector<Slot>, kSlotKinds> slots;
  int32_t final_state = kNoSlot;       ///< its Free must come next
  std::vector<int64_t> backward_left;  ///< by layer, from -1
  size_t reduced = 0;                  ///< groups of layers
  int32_t reduced_to = 0;              ///< from the top down to this layer

  /// The action to be done now, or none at the end.
  const Action* current() {
    if (next == actions.size()) {
      actions.clear();
      next = 0;
      if (!source(actions)) actions.clear();
    }
    return next < actions.size() ? &actions[next] : nullptr;
  }
};

/// All ranks' slots and messages; the rank at work is me(), its action me().current().
class SlotReplay {
 public:
  static constexpr size_t kMostFaults = 20;

 protected:
  SlotReplay(const ScheduleTask&, std::vector<ActionSource>);  ///< the task must stay
  Rank& me() { return ranks_[static_cast<size_t>(me_)]; }
  void note(std::string text);
  void fault(const std::string& text);
  void write(int32_t number, const Value& value);
  /// Rows that stay in their slot from one cell of a segment to the next; `first`: this cell fills it.
  void change(int32_t number, bool first, const Value& from, const Value& to);
  void read(int32_t number, const Value& expected);
  /// A slot that a cell needs, or must not have.
  bool wanted(const char* field, bool needed, int32_t slot);
  bool blocked(const Action& action);
  // Of the cell in run_.
  void post_receive(const Action& action);
  void send(const Action& action);
  void wait(const Action& action);
  void free(const Action& action);
  // Of memories: those of the segments before the cell in run_, and the adjoints of these.
  void read_memories(int32_t stream);
  void add_to_adjoints(int32_t stream);
  void clear(const Action& action);
  void add(const Action& action);
  void report_deadlock();
  void check_slots();  ///< at the end

  const ScheduleTask& task_;
  Precedence rules_;
  std::vector<Rank> ranks_;
  int32_t me_ = 0;
  CellRun run_;  ///< of the action's cell
  std::vector<std::string> faults_;

 private:
  Slot* find(SlotKind kind, int32_t slot);
  Value carried(const Action& action, bool sender) const;
  std::vector<Slot*> held(SlotKind kind, int32_t stream);
  void start(Slot& slot, const Action& action);
  static std::vector<Message>::iterator message_of(Slot& slot, int32_t peer);
  bool used_up(const Slot& slot) const;

  std::map<std::tuple<int32_t, int32_t, int32_t>, Channel> channels_;  // from, to, tag
};

}  // namespace memring::scheduling
