// SPDX-License-Identifier: Apache-2.0
#include "dist/precedence.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace memring::scheduling {
namespace {

/// Those whose waits are written below.
void expect_rules(Dependency dependency) {
  switch (dependency) {
    case Dependency::None:
    case Dependency::TopToInput:
    case Dependency::LayerLocal:
    case Dependency::Append:
    case Dependency::Halo:
      return;
    case Dependency::Affine:
      break;
  }
  static constexpr const char* kNames[] = {"None", "TopToInput", "LayerLocal", "Halo", "Affine", "Append"};
  throw Error(
      ExitCode::Usage,
      fmt::format("a memory with dependency {} was asked for; schedules exist for None, TopToInput, LayerLocal, Halo "
                  "and Append",
                  kNames[static_cast<int>(dependency)]),
      "Set memory.kind to none, rmt, armt, uio or halo.");
}

}  // namespace

void Waits::add(const Wait& wait) {
  if (count_ == kMost) check(false, fmt::format("a cell's run that waits for more than {} others", kMost));
  waits_[count_++] = wait;
}

bool Waits::contain(const Wait& wait) const { return std::find(begin(), end(), wait) != end(); }

const Wait* Waits::that_takes(Takes takes) const {
  const Wait* found = std::find_if(begin(), end(), [&](const Wait& wait) { return wait.takes == takes; });
  return found == end() ? nullptr : found;
}

const Wait* Waits::from_another_segment(int32_t segment) const {
  const Wait* found = std::find_if(begin(), end(), [&](const Wait& wait) {
    return (wait.takes == Takes::State || wait.takes == Takes::Adjoint) && wait.run.segment != segment;
  });
  return found == end() ? nullptr : found;
}

Precedence::Precedence(Dependency dependency, Extent extent, const std::vector<bool>& closed, int32_t ranks,
                       Policy policy)
    : dependency_(dependency),
      chained_(chains_segments(dependency)),
      extent_(extent),
      closed_(closed),
      ranks_(ranks),
      policy_(policy) {
  expect_rules(dependency);
  if (!chained_) return;
  for (int32_t s = 0; s < extent.segments; ++s) {  // evaluation has no reason to stop in between
    if (s == 0 || (policy.backward && closed[s])) begins_.push_back(s);
    numbers_.push_back(static_cast<int32_t>(begins_.size()) - 1);
  }
  begins_.push_back(extent.segments);
}

std::span<const Pass> Precedence::passes() const { return passes_of(dependency_); }

Window Precedence::window(int32_t number) const {
  if (!chained_) return {number, number, number + 1};
  return {number, begins_[static_cast<size_t>(number)], begins_[static_cast<size_t>(number) + 1]};
}

Window Precedence::window_of(int32_t segment) const {
  return window(chained_ ? numbers_[static_cast<size_t>(segment)] : segment);
}

int32_t Precedence::group_end(const Window& w, int32_t segment) const {
  return thinned() ? std::min(w.end, group_begin(w, group(w, segment) + 1)) : w.end;
}

// A second sweep goes over all groups of a window but the last, whose backward comes next. For the same reason the last
// segment of a rank in a group is not recomputed.
bool Precedence::runs(Verb verb, Pass pass, int32_t segment) const {
  if (segment >= segments(pass)) return false;
  switch (verb) {
    case Verb::Forward:
      return true;
    case Verb::Rebuild:
      return thinned() && rebuilt(window_of(segment), segment);
    case Verb::Recompute:
      if (!policy_.backward || !policy_.recompute) return false;
      return appends() ? pass == Pass::Encode : segment + ranks_ < group_end(window_of(segment), segment);
    case Verb::Backward:
      return policy_.backward;
    default:
      return false;
  }
}

Verb Precedence::rows_from(Pass pass, int32_t segment) const {
  return runs(Verb::Recompute, pass, segment) ? Verb::Recompute
         : runs(Verb::Rebuild, pass, segment) ? Verb::Rebuild
                                              : Verb::Forward;
}

// Of all dependencies but Append.
Waits Precedence::neighbour_waits(const CellRun& run) const {
  Waits waits;
  const auto wait_for = [&](Verb verb, int32_t segment, int32_t level, Takes takes) {
    waits.add({{verb, run.pass, segment, level}, takes});
  };
  const int32_t segment = run.segment;
  if (const int32_t before = number(run) - 1; before >= 0)
    waits.add({this->run(run.verb, run.pass, segment, before), Takes::Hidden});
  else
    add_turns(waits, run);

  switch (run.verb) {
    case Verb::Forward:
      if (state_crosses(segment)) wait_for(Verb::Forward, segment - 1, run.level, Takes::State);
      break;
    case Verb::Rebuild:
      if (!state_crosses(segment)) break;
      if (const Window w = window_of(segment); segment == group_begin(w, group(w, segment)))
        wait_for(Verb::Forward, segment, run.level, Takes::State);
      else
        wait_for(Verb::Rebuild, segment - 1, run.level, Takes::State);
      break;
    case Verb::Recompute:
      if (!state_crosses(segment)) break;
      wait_for(runs(Verb::Rebuild, run.pass, segment) ? Verb::Rebuild : Verb::Forward, segment, run.level,
               Takes::State);
      break;
    default:
      if (number(run) == 0) waits.add({last_run(rows_from(run.pass, segment), run.pass, segment), Takes::Rows});
      if (adjoint_crosses(segment + 1)) wait_for(Verb::Backward, segment + 1, run.level, Takes::Adjoint);
  }
  return waits;
}

// Of the rank that runs the segment. `run` is the first of its sweep.
void Precedence::add_turns(Waits& waits, const CellRun& run) const {
  const auto after = [&](const CellRun& before) { waits.add({before, Takes::Turn}); };
  const auto last = [&](Verb verb, int32_t of) { return last_run(verb, run.pass, of); };
  const int32_t segment = run.segment;
  switch (run.verb) {
    case Verb::Forward:  // where no segment waits for another, a rank finishes each before its next
      if (segment >= ranks_)
        after(last(chained_ || !policy_.backward ? Verb::Forward : Verb::Backward, segment - ranks_));
      break;
    case Verb::Rebuild: {
      const Window w = window_of(segment);
      after(run_before_rebuild(w, run.pass, segment));
      // As many groups are under way as windows may be.
      const int32_t here = group(w, segment), through = group_begin(w, here + policy_.windows);
      if (segment == group_begin(w, here) && through < w.end) after(last(Verb::Backward, through));
      break;
    }
    case Verb::Recompute:
      after(last(Verb::Backward, segment + ranks_));
      break;
    default:
      if (segment + ranks_ < window_of(segment).end) after(last(Verb::Backward, segment + ranks_));
  }
}

/// What the rank does right before it rebuilds this segment: its one before in the group, or its last one in the
/// nearest group behind that has one.
CellRun Precedence::run_before_rebuild(const Window& w, Pass pass, int32_t segment) const {
  const auto last_before = [&](int32_t end) { return end - 1 - (end - 1 - segment) % ranks_; };  // of the rank
  const int32_t end = group_end(w, segment), behind = last_before(end) + ranks_;
  if (segment - ranks_ >= group_begin(w, group(w, segment))) return last_run(Verb::Rebuild, pass, segment - ranks_);
  if (behind >= w.end) return last_run(Verb::Forward, pass, last_before(end));
  return last_run(rebuilt(w, behind) ? Verb::Rebuild : Verb::Forward, pass, last_before(group_end(w, behind)));
}

std::optional<CellRun> Precedence::reader_of(const CellRun& writer, Takes takes) const {
  CellRun reader = writer;
  reader.segment += takes == Takes::Adjoint ? -1 : 1;
  if (reader.segment < 0 || reader.segment == extent_.segments || !runs(reader.verb, reader.pass, reader.segment) ||
      !waits_of(reader).contain({writer, takes}))
    return std::nullopt;
  return reader;
}

std::optional<CellRun> Precedence::later_reader(const CellRun& run) const {
  for (const Verb verb : {Verb::Rebuild, Verb::Recompute}) {
    const CellRun later{verb, run.pass, run.segment, run.level};
    if (runs(verb, run.pass, run.segment) && waits_of(later).contain({run, Takes::State})) return later;
  }
  return std::nullopt;
}

int64_t Precedence::chain_from(const CellRun& run) const {
  if (appends()) return append_chain(run);
  const int64_t segments = extent_.segments, segment = run.segment, depth = this->depth();
  if (!chained_ || !policy_.backward) return segments - segment + depth - 1 - run.level;
  const int64_t forward = cost(Verb::Forward), backward = cost(Verb::Backward);
  const Window w = window_of(run.segment);
  const int64_t later_windows = (segments - w.end) * (forward + backward);
  if (run.verb == Verb::Backward) return (segment - w.begin + run.level + 1) * backward + later_windows;
  if (run.verb == Verb::Recompute)
    return (depth - run.level) * forward + (segment - w.begin + depth) * backward + later_windows;
  return (w.end - segment + depth - 1 - run.level) * forward + (w.end - w.begin + depth - 1) * backward + later_windows;
}

}  // namespace memring::scheduling
