// What cells compute, and where the executor leaves it: in the sums of the batch, and with a sink.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/readback.h"
#include "engine/executor.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/loss_sum/loss_sum.h"

namespace memring {

/// f(sequence of the stream, position in the segment, first row of [batch * own], rows, their targets) for each run of
/// text that is here.
template <class F>
void Executor::for_pieces(const CellText& text, const F& f) const {
  const std::array<Range, 2> pieces = sizes_.own_text(text.text, Pass::Decode);
  int64_t first = 0;
  for (int64_t b = 0; b < text.batch; ++b)
    for (const Range& range : pieces) {
      if (range.size() == 0) continue;
      f(b, range.begin, first, range.size(),
        text.targets.host.subspan(static_cast<size_t>(first), static_cast<size_t>(range.size())));
      first += range.size();
    }
}

ConstView<> Executor::on_host(ConstView<> numbers) {
  if (!queue_.device()) return numbers;
  sink_copy_.rewind(0);
  const View<> copy = sink_copy_.take(numbers.dtype(), numbers.shape());
  copy_now(queue_, copy, numbers);
  return copy;
}

void Executor::deliver(Range sequences, int64_t segment, const CellText& text, ConstView<> nll, ResultSink* sink) {
  LossSum::add(queue_, numbers_.rows(0, 1), nll);
  const std::span<const int32_t> all = text.targets.host;
  targets_ += static_cast<double>(all.size() - static_cast<size_t>(std::count(all.begin(), all.end(), kIgnoredTarget)));
  tokens_ += static_cast<double>(nll.size());
  if (!sink) return;
  const ConstView<> here = on_host(nll);
  for_pieces(text, [&](int64_t b, int64_t position, int64_t first, int64_t count, std::span<const int32_t> targets) {
    sink->losses(sequences.begin + b, segment * shape_.segment_length + position, here.rows(first, count), targets);
  });
}

void Executor::deliver_divergence(const Cell& cell, Range sequences, const CellText& text, const HeadRows& head,
                                  const CellSaved& saved, ResultSink* sink) {
  const View<> divergence = scratch_.take(dtype_, {sequences.size() * text.own});
  runner_.divergence(text, head, saved, divergence, scratch_);
  const ConstView<> here = on_host(divergence);
  for_pieces(text, [&](int64_t b, int64_t position, int64_t first, int64_t count, std::span<const int32_t>) {
    sink->divergences(sequences.begin + b, cell.segment * shape_.segment_length + position, here.rows(first, count));
  });
}

// The head runs once per segment: in Backward where there is one, with its gradient; here where there is none.
void Executor::deliver_head(const Cell& cell, Range sequences, const CellText& text, const CellSaved& saved,
                            bool counted, ResultSink* sink) {
  // (A rank of a token axis may hold no counted target of a segment that has some.)
  const bool uncounted = workload_.logits == Workload::Logits::Counted && !counted && mesh_.shape().token == 1;
  const bool with_logits = sink && workload_.logits != Workload::Logits::None && !uncounted;
  if (plan_.policy.backward && !with_logits) return;
  const HeadRows head = runner_.head_rows(text, saved);
  if (!plan_.policy.backward) {
    const View<> nll = scratch_.take(dtype_, {sequences.size() * text.own});
    runner_.loss(text, head, saved, nll, scratch_);
    deliver(sequences, cell.segment, text, nll, sink);
    if (sink && text.taught.rows) deliver_divergence(cell, sequences, text, head, saved, sink);
  }
  if (!with_logits) return;
  const View<> computed = scratch_.take(dtype_, {sequences.size() * head.count, llama_.shape().vocab});
  runner_.logits(text, head, saved, computed, scratch_);
  const ConstView<> logits = on_host(computed);
  const int64_t segment = cell.segment * shape_.segment_length;
  if (!head.of_text) {
    for_pieces(text, [&](int64_t b, int64_t position, int64_t first, int64_t count, std::span<const int32_t> targets) {
      sink->logits(sequences.begin + b, segment + position, logits.rows(first, count), targets);
    });
    return;
  }
  for (int64_t i = 0; i < sequences.size() * head.count; ++i)
    sink->logits(sequences.begin + i / head.count, segment + (*head.of_text)[static_cast<size_t>(i % head.count)],
                 logits.rows(i, 1), head.targets.host.subspan(static_cast<size_t>(i), 1));
}

int64_t Executor::final_state_numbers(const SequenceShape& shape) const {
  if (memory_.dependency() != Dependency::Append) return sizes_.state_numbers();
  return llama_.shape().layers * sizes_.keys_before(shape) * llama_.shape().dim;
}

/// Room for what a segment is remembered as, where a sink wants the state: [batch, layers, back, dim].
View<> Executor::told_view(const Action& a, Range sequences, const ResultSink* sink) {
  if (!sink || !workload_.final_state || a.verb != Verb::Forward || a.cell.pass != Pass::Encode) return {};
  const ModelShape& m = llama_.shape();
  return scratch_.take(dtype_,
                       {sequences.size(), m.layers, memory_.layout(Pass::Encode, 0, shape_.text_of(0)).back, m.dim});
}

/// By layer, and then by segment.
void Executor::deliver_told(const Cell& cell, Range sequences, View<> told, ResultSink* sink) {
  if (!told || mesh_.coord().token != 0) return;
  const ConstView<> here = on_host(told);
  const int64_t numbers = told.dim(2) * told.dim(3);
  for (int64_t b = 0; b < sequences.size(); ++b)
    for (int64_t layer = 0; layer < told.dim(1); ++layer)
      sink->final_state(sequences.begin + b, (layer * (shape_.segments() - 1) + cell.segment) * numbers,
                        here.at(b).at(layer).reshaped({numbers}));
}

}  // namespace memring
