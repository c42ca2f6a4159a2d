// Schedule: what one rank does in one optimizer step, as a value. It knows integers only: streams, segments, layers,
// ranks and slots; no tensor, no mechanism. Executor, validator and planner walk the same list (DESIGN.md, section 1).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"

namespace memring {

enum class Verb : uint8_t {
  // Those that compute come first.
  Forward,      ///< run the cell; saves rows for backward in slot `saved` when that is not kNoSlot
  Rebuild,      ///< run it again from the state in slot `in` for the states behind it (Policy::boundaries)
  Recompute,    ///< run it again from the state in slot `in`, saving its rows
  Backward,     ///< run it back from the saved rows
  Clear,        ///< `slot` becomes zero
  Add,          ///< slot `out` += slot `in`
  PostReceive,  ///< start receiving into `slot` from `peer`
  Send,         ///< start sending `slot` to `peer`
  Wait,         ///< complete the message started for `slot`
  Reduce,       ///< the gradients of the cell's layers are complete on all ranks of the segment axis: sum them
  Free          ///< the slot's content is dead; it may be given to another cell
};

const char* name_of(Verb);  ///< static text

/// What a slot holds. Each kind has its own numbering, 0 to count - 1.
enum class SlotKind : uint8_t {
  State,    ///< a cell's memory state at a segment boundary; with Append, the memory of a segment
  Adjoint,  ///< its gradient, or a rank's part of it
  Saved,    ///< rows of all cells of a segment that forward keeps for backward
  Hidden    ///< hidden rows between two cells of a segment that keeps none, or their gradient
};
inline constexpr int kSlotKinds = 4;
const char* name_of(SlotKind);  ///< static text
inline constexpr int32_t kNoSlot = -1;

struct Action {
  Verb verb = Verb::Forward;
  /// Of a message: the cell here that reads or writes it; of Free: the cell that used the slot last; of Reduce: only
  /// the layers count. Backward may run a part of a cell (Policy::parts), whose slots are those of the whole one.
  /// With Append all that is done with the slot of a memory, or of its adjoint, names the cell that encodes it.
  Cell cell;
  // Communication, Clear and Free: one slot. Messages of one slot to several peers may be under way at a time.
  SlotKind kind = SlotKind::State;
  int32_t slot = kNoSlot;
  int32_t peer = -1;  ///< rank on the segment axis
  int32_t tag = 0;
  // Compute. Forward, Rebuild and Recompute read state `in` and write state `out` (kNoSlot: initial state; nobody reads
  // it, as always with Recompute).
  // Backward reads adjoint `in` of the state it wrote and writes adjoint `out` of the state it read (kNoSlot: zero;
  // closed or first). `hidden`: of every Backward, and of a Forward or Rebuild that saves nothing. Add: `in` and `out`.
  // With Append `in` and `out` are a memory's that Encode writes, and its adjoint's; what Decode reads and adds to is
  // held: whatever slots have the memories of the segments before it, and the adjoints that were cleared here.
  int32_t in = kNoSlot, out = kNoSlot, saved = kNoSlot, hidden = kNoSlot;
  bool operator==(const Action&) const = default;
};

/// What is to be computed by the ranks of one segment axis.
struct Extent {
  int32_t streams = 1, segments = 1, layers = 1;
  int32_t depth = 1;  ///< cells into which the layers of a segment are cut

  /// Number `level` of them, from the bottom. The first embeds as well, the last has the head.
  Cell cell(int32_t stream, int32_t segment, int32_t level, Pass pass = Pass::Decode) const;
  /// The cell that this one is a part of, or is.
  Cell whole(const Cell& part) const;
};

/// When messages are put on their way.
enum class Messages : uint8_t {
  Buffered,  ///< receives before the cell in front of their reader, sends behind their writer: MPI
  /// Both ends at the place of the message's reader in the common order of all ranks' cells: NCCL, where a send ends
  /// when its receive runs and each rank's messages run in their order. What waits in a lane then waits for what stands
  /// before it in one order, so the first message that is not complete can go on. (Append, either way: both ends behind
  /// the writer, which comes long before the reader. At the reader a rank would wait for what others run meanwhile.)
  InOrder
};
/// Their tags are 0 to kTags - 1 (MPI promises no more).
constexpr int32_t kTags = 32767;

struct Policy {
  bool backward = true;   ///< training; false: evaluation, Forward only
  bool recompute = true;  ///< keep boundary states only and recompute; false: keep every cell's rows
  /// The state after the last segment is wanted: it gets a slot, freed right behind its cell.
  bool final_state = false;
  int32_t in_flight = 1;  ///< streams that may be under way at the same time
  int32_t windows = 1;    ///< of a stream, that may be under way at the same time
  /// With recompute: the first sweep keeps the states of every so many boundaries of a window; 0: of all. Group by
  /// group, from the last, a second sweep rebuilds the others; as many groups as windows may be under way.
  int32_t boundaries = 0;
  /// The last backward of a cell over all streams and segments runs in as many parts of its layers, or as many as it
  /// has: so the Reduce of one part travels while the next is computed.
  int32_t parts = 1;
  Messages messages = Messages::Buffered;
};

/// What the ranks of a segment axis need, found by one walk.
struct ScheduleNeeds {
  std::vector<std::array<int32_t, kSlotKinds>> slots;  ///< by rank: how many of each kind at the same time
  std::vector<int32_t> messages;                       ///< by rank: how many are under way at the same time
  double efficiency = 1;                               ///< as Schedule::efficiency
};

/// The actions of one rank. Streams are independent; within a stream the dependency orders the cells. Rank p of the
/// segment axis runs the segments s with s mod ranks == p. States go forward round this ring, their adjoints come back.
/// (Append: a memory goes to every rank that decodes a later segment, and parts of its adjoint come back.)
///
/// A cell waits for the one below it and for the same one of the segment before. With one cell a segment that is
/// TopToInput's chain: segments in turn. With a cell a layer, as LayerLocal and Halo allow, it is a wavefront: cells of
/// a diagonal, segment + layer, run at the same time, and backward the same way back.
///
/// With Append a rank encodes its segments of a stream in turn (but for the last of all), while the others' memories
/// come in. Then it decodes them; in training from its last to its first, each forward and at once backward. Its part
/// of a memory's adjoint is complete, and leaves, when it has run back its first segment behind that memory; the parts
/// of others are added as they come in. Last it runs its encodes back, from the last. With recompute, one is recomputed
/// at a time.
///
/// Reduce stands at a common place: where the last rank of the axis has completed the gradients of its layers, each
/// layer once, from the top down. So all ranks of a world, whatever their streams and segments, list the same ones in
/// the same order, and those without any cell as well.
///
/// Closed boundaries cut a stream into windows: a window runs forward, then backward in reverse. A rank goes through
/// its segments of a window one after the other. With recompute, it recomputes each but its last one (of a group, where
/// states are rebuilt) before its backward.
///
/// How the order is found: one deterministic greedy simulation of all ranks (backward before forward and rebuild before
/// recompute, then the longest chain of work left in the stream, then the lowest stream), which every rank runs alike
/// and of which it keeps its own actions. A cell costs 2 backward and 1 otherwise, messages nothing. So the order is
/// free of deadlock by construction, and `efficiency` comes with it.
class Schedule {
 public:
  /// closed[s]: boundary s (between segments s-1 and s) carries the state's value and no gradient. One entry a segment,
  /// of which the first is ignored; empty: none is closed. Evaluation, None and Append have no use for it. Only
  /// LayerLocal and Halo may be cut in depth; Append keeps all memories (Policy::boundaries 0). Throws Error(Usage) for
  /// a dependency whose schedule does not exist yet.
  static Schedule derive(Dependency, Extent, std::vector<bool> closed, MeshShape, MeshCoord, Policy);

  /// Streams in flight x windows x cells of a segment, at the most: messages are told apart by the tags of their cells.
  static int32_t most_cells_under_way();

  /// Replaces `out` by the next actions, in order: some hundreds, at least one; false and none: done.
  bool next_actions(std::vector<Action>& out);
  void restart();  ///< from the first action again

  // Found by a walk of its own when one of them is first asked for.
  /// Slots of this kind, or of each, that this rank needs at the same time.
  int32_t slots(SlotKind) const;
  const std::array<int32_t, kSlotKinds>& slots() const;
  /// Busy time of all ranks over ranks x makespan, in the unit costs above.
  double efficiency() const;
  /// The same of all ranks of the segment axis, at little more than the price of one.
  ScheduleNeeds needs_of_all() const;

  Dependency dependency() const;
  Extent extent() const;
  const std::vector<bool>& closed() const;
  const Policy& policy() const;
  MeshShape mesh() const;
  MeshCoord coord() const;

  Schedule(Schedule&&) noexcept;
  Schedule& operator=(Schedule&&) noexcept;
  ~Schedule();

 private:
  struct Simulation;
  Schedule();
  std::unique_ptr<Simulation> simulation_;
};

/// "Forward stream 0 segment 3 layers -1..4 in State 1 out State 2 saved 0" - one line of the debug print.
std::string describe(const Action&);

/// Replays the actions of all ranks of one segment axis (schedules[p] is rank p's) and checks: each required forward
/// and backward exactly once, at most one recompute and rebuild, every receive has its send and the other way round
/// with the same tag and order, no deadlock, no slot used before it is filled, nothing written that nobody reads, every
/// memory and adjoint there that Append holds, every slot freed, no more slots than announced, each group of layers
/// reduced once; with Messages::InOrder, that they end on a machine whose messages run in their order as well. Returns
/// the faults in words; empty: valid. (The schedules are walked to their end and restarted.)
std::vector<std::string> validate(std::vector<Schedule>& schedules);

}  // namespace memring
