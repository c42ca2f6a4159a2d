// Which work on a cell waits for which: the precedence constraints of every dependency (DESIGN.md, section 1), as data.
// The order of the cells, the slots and the validator all ask here, so a new dependency adds its rules here and nowhere
// else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dist/schedule.h"

namespace memring::scheduling {

/// Part of a stream between closed boundaries, segments [begin, end): run forward, then backward. Where segments are
/// not chained, each is one.
struct Window {
  int32_t number = 0, begin = 0, end = 0;
};

/// One of the verbs that compute, on a cell of any stream: all streams are alike.
struct CellRun {
  Verb verb = Verb::Forward;
  Pass pass = Pass::Decode;
  int32_t segment = 0, level = 0;  ///< `level`: number of the cell in the segment's depth, from the bottom
  bool operator==(const CellRun&) const = default;
};

/// What a run takes from one that it waits for.
enum class Takes : uint8_t {
  State,     ///< at the boundary before its segment: written by the segment before, or kept by its own earlier run
  Adjoint,   ///< of the state behind its segment
  Rows,      ///< those of its segment, saved
  Hidden,    ///< the rows, or their gradient, that go through the cells of its segment
  Turn,      ///< nothing: a rank goes through its segments one after the other
  Memories,  ///< of these segments, that the rank holds for its decodes (Append)
  Parts      ///< each rank's of the adjoint of its segment's memory, to be added up (Append)
};

struct Wait {
  CellRun run;
  Takes takes = Takes::Turn;
  int32_t count = 1;  ///< as many segments' runs, from that one on
  CellRun at(int32_t number) const { return {run.verb, run.pass, run.segment + number, run.level}; }
  bool operator==(const Wait&) const = default;
};

/// What one run waits for: a few. One more than there is room for is a fault of the rules.
class Waits {
 public:
  void add(const Wait&);
  const Wait* begin() const { return waits_.data(); }
  const Wait* end() const { return waits_.data() + count_; }
  bool contain(const Wait&) const;
  /// The one that takes this; null: none does.
  const Wait* that_takes(Takes) const;
  /// The one that takes a state or adjoint of another segment's run than `segment`'s.
  const Wait* from_another_segment(int32_t segment) const;

 private:
  static constexpr size_t kMost = 4;
  std::array<Wait, kMost> waits_;
  size_t count_ = 0;
};

/// What all ranks of a segment axis are to compute and know alike, and the order that it asks for.
class Precedence {
 public:
  /// closed: as in Schedule::derive, one entry a segment. Throws Error(Usage) for a dependency without rules.
  Precedence(Dependency, Extent, const std::vector<bool>& closed, int32_t ranks, Policy);

  /// The runs of the same stream that this one comes after. Pure.
  Waits waits_of(const CellRun& run) const { return appends() ? append_waits(run) : neighbour_waits(run); }
  /// The run of a neighbouring segment that takes what this one writes there, a state or an adjoint, if any does.
  std::optional<CellRun> reader_of(const CellRun& writer, Takes) const;
  /// The run of the same segment that takes the state which this one has taken, if any does: so it is kept.
  std::optional<CellRun> later_reader(const CellRun&) const;

  // Append: the state that Encode writes is its segment's memory. Each rank that decodes a later segment holds it, and
  // sums its part of the adjoint of it. (In precedence_append.cpp.)
  bool appends() const { return dependency_ == Dependency::Append; }
  bool writes_memory(const CellRun& run) const { return run.verb == Verb::Forward && run.pass == Pass::Encode; }
  /// The first decode of a rank that has some.
  CellRun first_decode(int32_t rank) const {
    return {Verb::Forward, Pass::Decode, policy_.backward ? last_of(rank, Pass::Decode) : rank};
  }
  /// How many segments behind this one `rank` decodes, and so reads its memory.
  int32_t decodes_behind(int32_t segment, int32_t rank) const;
  /// Segments whose memories this run is the last on its rank to read; those whose adjoints it is the last to add to.
  Range memories_last_read_by(const CellRun&) const;
  Range adjoints_completed_by(const CellRun&) const;

  /// Whether it writes the state behind the last segment, which no run takes.
  bool writes_final_state(const CellRun& run) const {
    return chained_ && run.verb == Verb::Forward && run.segment + 1 == extent_.segments;
  }
  /// Whether this verb goes over the segment at all, in this pass.
  bool runs(Verb, Pass, int32_t segment) const;
  /// The verb whose rows Backward takes: the last before it that goes over the segment.
  Verb rows_from(Pass, int32_t segment) const;
  /// The passes over the segments: `Decode`, and with Append `Encode`.
  std::span<const Pass> passes() const;
  /// How many segments a pass goes over, from the first: nobody reads the memory of the last one.
  int32_t segments(Pass pass) const { return extent_.segments - (pass == Pass::Encode ? 1 : 0); }

  int32_t rank_of(int32_t segment) const { return segment % ranks_; }
  int32_t segments_of(int32_t rank, Pass pass) const { return (segments(pass) - rank + ranks_ - 1) / ranks_; }
  /// Negative where it has none.
  int32_t last_of(int32_t rank, Pass pass) const { return rank + (segments_of(rank, pass) - 1) * ranks_; }
  /// How many runs of its sweep over the segment come before this one: a sweep climbs, and goes back down.
  int32_t number(const CellRun& run) const { return run.verb == Verb::Backward ? depth() - 1 - run.level : run.level; }
  /// The run with this number.
  CellRun run(Verb verb, Pass pass, int32_t segment, int32_t number) const {
    return {verb, pass, segment, verb == Verb::Backward ? depth() - 1 - number : number};
  }
  /// Units of work of the stream from this run to its end, if no rank ever made it wait; with Append, of its rank.
  int64_t chain_from(const CellRun&) const;
  static int64_t cost(Verb verb) { return verb == Verb::Backward ? 2 : 1; }  ///< units of work

  bool thinned() const { return policy_.backward && policy_.recompute && policy_.boundaries > 0; }
  Window window(int32_t number) const;
  Window window_of(int32_t segment) const;
  /// Windows of a stream that may be under way at the same time.
  int32_t windows_under_way() const { return chained_ ? policy_.windows : extent_.segments; }
  /// The group of segments, counted in their window, whose states are kept together; one where all are kept.
  int32_t group_of(int32_t segment) const { return group(window_of(segment), segment); }

  Dependency dependency() const { return dependency_; }
  const Extent& extent() const { return extent_; }
  const Policy& policy() const { return policy_; }
  int32_t ranks() const { return ranks_; }
  int32_t depth() const { return extent_.depth; }

 private:
  bool state_crosses(int32_t boundary) const { return chained_ && boundary > 0 && boundary < extent_.segments; }
  bool adjoint_crosses(int32_t boundary) const { return state_crosses(boundary) && !closed_[boundary]; }
  int32_t group(const Window& w, int32_t segment) const {
    return thinned() ? (segment - w.begin) / policy_.boundaries : 0;
  }
  int32_t group_begin(const Window& w, int32_t group) const { return w.begin + group * policy_.boundaries; }
  int32_t group_end(const Window& w, int32_t segment) const;
  bool rebuilt(const Window& w, int32_t segment) const { return group_end(w, segment) < w.end; }
  void add_turns(Waits&, const CellRun&) const;
  void add_append_turns(Waits&, const CellRun&) const;
  Waits append_waits(const CellRun&) const;
  Waits neighbour_waits(const CellRun&) const;
  int64_t append_chain(const CellRun&) const;
  CellRun run_before_rebuild(const Window&, Pass, int32_t segment) const;
  CellRun last_run(Verb verb, Pass pass, int32_t segment) const { return run(verb, pass, segment, depth() - 1); }

  Dependency dependency_;
  bool chained_;
  Extent extent_;
  std::vector<bool> closed_;
  int32_t ranks_;
  Policy policy_;
  // Empty where each segment is a window.
  std::vector<int32_t> begins_;   // of the windows, and the end of the last
  std::vector<int32_t> numbers_;  // of each segment's window
};

}  // namespace memring::scheduling
