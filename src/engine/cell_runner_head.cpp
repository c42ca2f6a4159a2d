// The head of a cell: which rows it sees, its logits and its loss, and the gradient of that.
// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_runner.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/linear/linear.h"
#include "kernels/loss_sum/loss_sum.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rows/rows.h"

namespace memring {
namespace {

/// f(its rows of `dense` [batch * count, dim], the head's rows of `all` [batch, rows, dim]) for each sequence.
template <class F>
void for_text_rows(const HeadRows& head, View<> dense, View<> all, const F& f) {
  for (int64_t b = 0; b < all.dim(0); ++b)
    f(dense.rows(b * head.count, head.count), all.at(b).rows(head.first, head.count));
}

}  // namespace

HeadRows CellRunner::head_rows(const CellText& text, const CellSaved& saved) {
  const Layout& rows = axis_.layout();
  if (saved.wanted.empty())
    return {sizes_.extent(1, text.text, Pass::Decode).rows, axis_.first_text(), text.own, text.targets, std::nullopt};
  HeadRows head{std::ssize(saved.wanted), 0, 0, {}, std::vector<int32_t>()};
  for (const int32_t row : saved.wanted) {
    if (row < rows.text_rows().begin) ++head.first;
    if (row >= rows.text_rows().begin && row < rows.text_rows().end)
      head.of_text->push_back(static_cast<int32_t>(row - rows.text_rows().begin));
  }
  head.count = std::ssize(*head.of_text);
  const std::span<int32_t> targets = ids_.take(text.batch * head.count);
  auto next = targets.begin();
  for (int64_t b = 0; b < text.batch; ++b)
    for (const int32_t i : *head.of_text) *next++ = text.targets.host[static_cast<size_t>(b * text.own + i)];
  head.targets = ids_.ready(queue_, targets);
  return head;
}

View<> CellRunner::text_rows(const CellText& text, const HeadRows& head, View<> hidden, Arena& scratch) {
  const int64_t dim = llama_.shape().dim;
  const View<> all = hidden.first({text.batch, head.rows, dim});
  if (head.rows == head.count) return all.reshaped({text.batch * head.rows, dim});
  const View<> dense = scratch.take(hidden.dtype(), {text.batch * head.count, dim});
  for_text_rows(head, dense, all, [&](View<> to, View<> from) { Elementwise::copy(queue_, to, from); });
  return dense;
}

ConstView<> CellRunner::taught_rows(const CellText& text, const HeadRows& head, Arena& scratch) {
  if (!head.of_text) return text.taught.rows;
  const int64_t dim = llama_.shape().dim;
  const View<> some = scratch.take(text.taught.rows.dtype(), {text.batch, head.count, dim});
  MoveRows::run(queue_, some, ascending(head.of_text->size()), Write::Overwrite,
                text.taught.rows.reshaped({text.batch, text.own, dim}), *head.of_text);
  return some.reshaped({text.batch * head.count, dim});
}

template <class F>
void CellRunner::with_nll(const CellText& text, const HeadRows& head, View<> nll, Arena& scratch, const F& f) {
  if (!head.of_text) return f(nll);
  const View<> some = scratch.take(nll.dtype(), {text.batch, head.count, 1});
  f(some.reshaped({text.batch * head.count}));
  Elementwise::fill(queue_, nll, 0);
  MoveRows::run(queue_, nll.reshaped({text.batch, text.own, 1}), *head.of_text, Write::Overwrite, some,
                ascending(head.of_text->size()));
}

void CellRunner::loss(const CellText& text, const HeadRows& head, const CellSaved& saved, View<> nll, Arena& scratch) {
  ArenaScope scope(scratch);
  const View<> hidden = text_rows(text, head, saved.normed, scratch);
  with_nll(text, head, nll, scratch, [&](View<> of_head) {
    CrossEntropy::forward(queue_, of_head, hidden, params_.weight(llama_.head()), head.targets, scratch, head.first);
  });
}

void CellRunner::divergence(const CellText& text, const HeadRows& head, const CellSaved& saved, View<> divergence,
                            Arena& scratch) {
  ArenaScope scope(scratch);
  const View<> hidden = text_rows(text, head, saved.normed, scratch);
  const View<> unwanted = scratch.take(hidden.dtype(), hidden.shape());  // the gradient
  with_nll(text, head, divergence, scratch, [&](View<> of_head) {
    CrossEntropy::distil(queue_, of_head, unwanted, hidden, taught_rows(text, head, scratch), /*share=*/1,
                         params_.weight(llama_.head()), head.targets, scratch, head.first);
  });
}

void CellRunner::logits(const CellText& text, const HeadRows& head, const CellSaved& saved, View<> logits,
                        Arena& scratch) {
  ArenaScope scope(scratch);
  Linear::forward(queue_, logits, Write::Overwrite, text_rows(text, head, saved.normed, scratch),
                  params_.weight(llama_.head()));
}

void CellRunner::head_backward(const CellText& text, const CellSaved& saved, CellContext& c, View<> d_top, View<> nll,
                               Arena& scratch) {
  ArenaScope scope(scratch);
  note(llama_.shape().layers);
  const HeadRows head = head_rows(text, saved);
  const CellExtent e{text.batch, head.rows};
  const int64_t dim = llama_.shape().dim;
  const HeadScratch s = HeadScratch::carve(scratch, saved.top.dtype(), e, head.count, dim);
  // Forward and backward together, once per segment.
  const View<> normed = saved.normed.first({e.batch, e.rows, dim});
  const auto losses = [&](View<> d_text, ConstView<> rows) {
    with_nll(text, head, nll, scratch, [&](View<> of_head) {
      if (text.taught.rows) {
        // By itself first, for the log: the mixture does not tell how much of it is the text's.
        CrossEntropy::forward(queue_, of_head, rows, params_.weight(llama_.head()), head.targets, scratch, head.first);
        LossSum::add(queue_, text_loss_, of_head);
        return CrossEntropy::distil(queue_, of_head, d_text, rows, taught_rows(text, head, scratch), text.taught.share,
                                    params_.weight(llama_.head()), head.targets, scratch, head.first);
      }
      CrossEntropy::forward_backward(queue_, of_head, d_text, params_.grad(llama_.head()), rows,
                                     params_.weight(llama_.head()), head.targets, scratch, head.first);
    });
  };
  if (s.text) {
    for_text_rows(head, s.text, normed, [&](View<> to, View<> from) { Elementwise::copy(queue_, to, from); });
    losses(s.d_text, s.text);
    for_text_rows(head, s.d_text, s.d_normed, [&](View<> from, View<> to) { Elementwise::copy(queue_, to, from); });
  } else {
    losses(s.d_normed.reshaped({e.total(), dim}), normed.reshaped({e.total(), dim}));
  }
  queue_.poll();

  c.cell.layer = static_cast<int16_t>(llama_.shape().layers);
  c.hidden = normed;
  c.d_hidden = s.d_normed;
  memory_.after_norm_backward(c);
  RmsNorm::backward(queue_, d_top, Write::Overwrite, params_.grad(llama_.final_norm()),
                    s.d_normed.reshaped({e.total(), dim}), saved.top.rows(0, e.total()),
                    params_.weight(llama_.final_norm()), saved.inv_rms.rows(0, e.total()));
}

}  // namespace memring
