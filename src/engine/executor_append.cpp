// What the executor does where segments append what later ones see (Dependency::Append): memories and adjoints that are
// held over many cells.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "engine/executor.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {

View<> Executor::appended_adjoint(int32_t index, Range sequences, const Cell& cell) {
  return slot(SlotKind::Adjoint, index)
      .memory.reinterpreted(sizes_.appended_type(), {sizes_.adjoints(), sequences.size(), sizes_.state_numbers(cell)});
}

View<> Executor::completed_adjoint(int32_t index, Range sequences, const Cell& cell) {
  const View<> sums = appended_adjoint(index, sequences, cell);
  if (sums.dtype() != DType::Exact) return sums;
  const View<> rounded = scratch_.take(dtype_, sums.shape());
  ExactSum::round(queue_, rounded, Write::Overwrite, sums);
  return rounded;
}

/// Memories and adjoints that are here for later cells are not named in those cells' actions.
void Executor::hold(const Action& a) {
  if (memory_.dependency() != Dependency::Append || a.cell.pass != Pass::Encode) return;
  if (a.kind != SlotKind::State && a.kind != SlotKind::Adjoint) return;
  const std::pair segment{a.cell.stream, a.cell.segment};
  auto& held = a.kind == SlotKind::Adjoint ? adjoints_ : memories_;
  if (a.verb == Verb::Free) {
    if (const auto found = held.find(segment); found != held.end() && found->second == a.slot) held.erase(found);
  } else if (a.verb == Verb::Forward) {
    if (a.out != kNoSlot) memories_[segment] = a.out;
  } else if (a.verb == Verb::Clear || (a.verb == Verb::Wait && a.kind == SlotKind::State)) {
    held[segment] = a.slot;
  }
}

EarlierSegments Executor::earlier_segments(const Action& a, Range sequences, const BoundaryWeights& weights) {
  EarlierSegments earlier;
  if (memory_.dependency() != Dependency::Append || a.cell.pass != Pass::Decode) return earlier;
  const Cell whole = plan_.extent(shape_.segments()).whole(a.cell);
  const int64_t segments = a.cell.segment;
  earlier_.clear();
  d_earlier_.clear();
  for (int32_t s = 0; s < segments; ++s) {
    earlier_.push_back(state_view(SlotKind::State, memories_.at({a.cell.stream, s}), sequences, whole));
    if (a.verb == Verb::Backward)
      d_earlier_.push_back(appended_adjoint(adjoints_.at({a.cell.stream, s}), sequences, whole));
  }
  earlier.states = earlier_;
  earlier.d_states = d_earlier_;
  if (sizes_.adjoints() == 1 || d_earlier_.empty()) return earlier;
  alive_ = std::make_unique<bool[]>(static_cast<size_t>(sequences.size() * segments));
  for (int64_t b = 0; b < sequences.size(); ++b)
    for (int64_t s = 0; s < segments; ++s)
      alive_[static_cast<size_t>(b * segments + s)] = weights.alive(sequences.begin + b, segments, s);
  earlier.alive = {alive_.get(), static_cast<size_t>(sequences.size() * segments)};
  earlier.weight = weights.weight_of_alive(segments);
  return earlier;
}

// What the ranks of a token axis have added to the adjoints of the segments that no other decode of this rank sees
// (Precedence::adjoints_completed_by). Where each has all rows (GatherAttention), there is nothing to be summed.
void Executor::complete_adjoints(const Action& a, Range sequences) {
  if (mesh_.shape().token == 1 || queue_.block() > 0) return;
  for (int32_t s = std::max(0, a.cell.segment - mesh_.shape().segment); s < a.cell.segment; ++s)
    axis_.sum(queue_, appended_adjoint(adjoints_.at({a.cell.stream, s}), sequences,
                                       plan_.extent(shape_.segments()).whole(a.cell)));
}

void Executor::add(const Action& a) {
  const Range sequences = sequences_of(a.cell.stream);
  const View<> sum = appended_adjoint(a.out, sequences, a.cell);
  Elementwise::add(queue_, sum, sum, appended_adjoint(a.in, sequences, a.cell));
}

}  // namespace memring
