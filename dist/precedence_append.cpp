// The rules of Append. A stream's work on one rank is one sequence: it encodes its segments, decodes them, and runs the
// encodes back. So all ranks encode at the same time, and none waits for another's memories before it decodes. In
// training the last two go from its last segment to its first, so that what is complete first is the adjoint of the
// memory whose encode is run back first.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "dist/precedence.h"

namespace memring::scheduling {

int32_t Precedence::decodes_behind(int32_t segment, int32_t rank) const {
  return segments_of(rank, Pass::Decode) - (segment - rank + ranks_) / ranks_;
}

Range Precedence::adjoints_completed_by(const CellRun& run) const {
  if (!appends() || run.verb != Verb::Backward || run.pass != Pass::Decode) return {};
  return {std::max(run.segment - ranks_, 0), run.segment};
}

Range Precedence::memories_last_read_by(const CellRun& run) const {
  if (policy_.backward) return adjoints_completed_by(run);
  if (!appends() || run.pass != Pass::Decode || decodes_behind(run.segment, rank_of(run.segment)) > 0) return {};
  return {0, run.segment};
}

Waits Precedence::append_waits(const CellRun& run) const {
  Waits waits;
  add_append_turns(waits, run);
  const int32_t segment = run.segment;
  if (const int32_t others = last_of(rank_of(segment), Pass::Decode);
      run == first_decode(rank_of(segment)) && others > 0)
    waits.add({{Verb::Forward, Pass::Encode, 0}, Takes::Memories, others});
  if (run.verb != Verb::Backward) return waits;
  waits.add({{rows_from(run.pass, segment), run.pass, segment}, Takes::Rows});
  if (run.pass == Pass::Encode) {
    const int32_t last = std::min(segment + ranks_, extent_.segments - 1);
    waits.add({{Verb::Backward, Pass::Decode, segment + 1}, Takes::Parts, last - segment});
  }
  return waits;
}

void Precedence::add_append_turns(Waits& waits, const CellRun& run) const {
  const auto after = [&](Verb verb, Pass pass, int32_t segment) {
    if (segment >= 0) waits.add({{verb, pass, segment}, Takes::Turn});
  };
  const int32_t before = run.segment - ranks_, behind = run.segment + ranks_, rank = rank_of(run.segment);
  if (run.verb == Verb::Forward) {
    if (run.pass == Pass::Encode) return after(Verb::Forward, Pass::Encode, before);
    if (run == first_decode(rank)) return after(Verb::Forward, Pass::Encode, last_of(rank, Pass::Encode));
    return policy_.backward ? after(Verb::Backward, Pass::Decode, behind) : after(Verb::Forward, Pass::Decode, before);
  }
  if (run.verb == Verb::Backward && (run.pass == Pass::Decode || policy_.recompute)) return;  // comes behind its rows
  if (runs(Verb::Backward, Pass::Encode, behind)) return after(Verb::Backward, Pass::Encode, behind);
  after(Verb::Backward, Pass::Decode, rank);  // its last decode
}

int64_t Precedence::append_chain(const CellRun& run) const {
  const int32_t rank = rank_of(run.segment);
  const int64_t round = run.segment / ranks_;
  const int64_t encodes = segments_of(rank, Pass::Encode), decodes = segments_of(rank, Pass::Decode);
  const int64_t forward = cost(Verb::Forward), backward = cost(Verb::Backward);
  if (!policy_.backward) return (run.pass == Pass::Encode ? encodes + decodes : decodes) - round;
  const int64_t back = backward + (policy_.recompute ? forward : 0);  // of one encode
  const bool forth = run.verb == Verb::Forward, backs = run.verb == Verb::Backward;
  if (run.pass == Pass::Encode && !forth) return round * back + (backs ? backward : back);
  const int64_t decode = forward + backward;
  if (forth && run.pass == Pass::Encode) return (encodes - round) * forward + decodes * decode + encodes * back;
  return round * decode + (backs ? backward : decode) + encodes * back;
}

}  // namespace memring::scheduling
