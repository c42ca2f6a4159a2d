// ExecutionPlan: how a rank runs a workload and what that takes from its machine, as a value. Every rank computes it
// for itself, alike with the others and without asking them; so does who has no ranks at all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "config/words.h"
#include "dist/mesh_arithmetic.h"
#include "dist/schedule.h"
#include "engine/tbptt.h"
#include "memory/memory.h"
#include "model/shape.h"

namespace memring {

/// What a run computes, whatever the ranks.
struct Workload {
  int64_t batch = 1;  ///< sequences of a step over the whole world
  /// Every batch has one of these shapes, or one of them with fewer segments; the last is what the run is about.
  std::vector<SequenceShape> shapes{{}};
  int64_t micro_batch = 0;  ///< sequences of one stream; 0: automatic
  bool backward = true;
  bool final_state = false;  ///< deliver the state after the last segment
  /// How many position ids the text of a segment may have where sequences have ids of their own
  /// (TokenSource::own_positions), and so a table of angles each; 0: one a token, the same for all.
  int64_t positions = 0;
  bool own_positions() const { return positions > 0; }
  /// What training drew them for, also where they are plain now: frequencies that depend on a length (dynamic,
  /// longrope) are those of at least so many.
  int64_t trained_positions = 0;
  /// Who teaches beside the text (objective.kind = distil): the base, by `share` of the loss, from up to `window` raw
  /// tokens; 0: nobody.
  struct Teaching {
    double share = 0;
    int64_t window = 0;
  } teaching{};
  /// Those at the most; 0: nobody teaches.
  int64_t raw_tokens() const {
    int64_t longest = 0;
    for (const SequenceShape& shape : shapes) longest = std::max(longest, shape.length);
    return std::min(longest, teaching.window);
  }
  /// Which logits to deliver (small vocabularies). Counted: at least those of counted targets; others may be left out,
  /// which saves their time.
  enum class Logits : uint8_t { None, Counted, All } logits = Logits::None;
};

/// What a batch sums up besides its diagnostics: the loss, and that of the text alone, where a base teaches.
constexpr int64_t kLossSums = 2;

struct CellUses;
CellUses cell_uses(const Workload&, const Tbptt&);

/// What backward has of the forward sweep: whether it recomputes, and from how many states (Policy::boundaries).
struct Recompute {
  RecomputeWhen when = RecomputeWhen::Auto;
  int32_t boundaries = 0;
};

enum class MemoryPurpose : uint8_t {
  Parameters,  ///< and gradients
  Optimizer,   ///< and a checkpoint's buffer; beside a device what it takes on the host for saves and exchanges
  States,      ///< at segment boundaries
  Adjoints,    ///< of states
  Saved,       ///< rows that forward keeps for backward
  Hidden,      ///< rows between the cells of a segment
  Scratch,     ///< of a cell under way
  Products,    ///< copies of their operands, rounded or packed; terms of exact sums; a device's workspace
  Angles,      ///< rotary
  Tables,      ///< token ids, and what the host knows of each row
  Ring,        ///< messages of a token axis
  Staged,      ///< messages of segment and token axis on their way between device and host
  Results      ///< of a device: losses, logits and states for a sink, sums of a batch
};
const char* name_of(MemoryPurpose);  ///< static text

/// What one purpose takes from the machine: so many pieces, and the bytes of each in the memory of the host and of the
/// device.
struct MemoryPart {
  MemoryPurpose purpose;
  int64_t count = 1;
  int64_t host = 0, device = 0;

  int64_t bytes() const { return count * (host + device); }
};

/// What a rank takes from the machine.
struct MemoryPlan {
  std::vector<MemoryPart> parts;

  SpaceBytes by_space() const;
  int64_t total() const;                  ///< bytes of both
  int64_t bytes_of(MemoryPurpose) const;  ///< 0: nothing is taken for it
  /// "adjoints 0.2, working space 1.5": MiB of the parts that take something. With a device its bytes, and then, behind
  /// "on the host", the others.
  std::string text() const;
};

/// What a plan follows from, besides the place of its rank and the limit.
struct PlanInputs {
  const ModelShape& model;
  const Memory& memory;       ///< its sizes
  const FlatBuffer& trained;  ///< parameters of both that take gradients
  DType dtype;
  const Queue::Options& numerics;
  const Workload& workload;
  const Tbptt& tbptt;
  Recompute recompute;
  MeshShape mesh;
};

struct ExecutionPlan {
  Dependency dependency = Dependency::None;
  MeshShape mesh;
  MeshCoord coord;
  Range sequences;                       ///< of the batch: those of the rank's data coordinate
  int64_t micro_batch = 1, streams = 1;  ///< sequences of a stream; streams of the rank's data coordinate
  int32_t layers = 1, depth = 1;         ///< of the model; cells of a segment
  Policy policy;                         ///< recomputing, boundaries, windows, streams in flight, parts
  double efficiency = 1;                 ///< of the workload's last shape (Schedule::efficiency)
  MemoryPlan memory;                     ///< of the executor, for the shapes that take most
  ProductCopies copies;                  ///< what its memory holds for them (MemoryPurpose::Products)
  /// What the rank of the world that takes most does, and its number: the same on every rank. Of the memory that the
  /// limit is about: the device's where there is one.
  int64_t most_bytes = 0;
  int most_rank = 0;
  MemoryPlan most_memory;  ///< of that rank

  Extent extent(int64_t segments) const {
    return {static_cast<int32_t>(streams), static_cast<int32_t>(segments), layers, depth};
  }
  /// closed: one entry a segment, as in Schedule::derive.
  Schedule schedule(std::vector<bool> closed) const;
};

/// Streams and recompute policy are the first of these with which no rank of the world takes more than `limit` bytes,
/// or else the last: streams as large as they can be and halved while they must, each with activations kept and then
/// recomputed, within what the workload and `recompute` allow; and at last, where `recompute` leaves that open, with
/// states kept at ever fewer boundaries, of which the one that takes least stands for the last. Whether it fits is for
/// the caller to see (most_bytes). Pure: the ranks of a mesh get plans that belong together. A rank's limit may differ
/// from another's: `limit` is the least of the world.
ExecutionPlan plan_execution(const PlanInputs&, MeshCoord, int64_t limit);

}  // namespace memring
