// Attention where all keys are here: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/attention.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/profile.h"
#include "kernels/attention/cpu.h"
#include "kernels/attention/cuda.h"
#include "kernels/attention/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/wide.h"

namespace memring {
namespace {

/// Checks q, o [batch, heads, rows, head_dim], lse [batch, heads, rows], the rows and the spans.
AttentionExtents extents_of(const Queue& queue, ConstView<> q, ConstView<> o, ConstView<> lse, const RowTable& rows,
                            std::span<const KeySpan> spans) {
  const DType dtype = expect_stored(q, 4, "Attention q");
  AttentionExtents e{q.dim(0), q.dim(1), q.dim(1), q.dim(2), q.dim(3)};
  if (e.head_dim < 1) throw ShapeError(fmt::format("Attention: head_dim must be positive, found q {}", q.text()));
  expect_stored_or_sums(o, dtype, q.shape(), "Attention o");
  expect(lse, sums_type(dtype), {e.batch, e.heads, e.rows}, "Attention lse");
  if (rows.size() != e.rows) throw ShapeError(fmt::format("Attention: {} rows describe q {}", rows.size(), q.text()));
  expect_where(queue, rows, "Attention queries");
  for (size_t s = 0; s < spans.size(); ++s) {
    const KeySpan& span = spans[s];
    expect_where(queue, span.rows, "Attention keys");
    expect_stored(span.k, 4, "Attention k");
    if (s == 0) e.kv_heads = span.k.dim(1);
    if (e.kv_heads < 1 || e.heads % e.kv_heads != 0)
      throw ShapeError(fmt::format("Attention: {} heads are no multiple of {} kv_heads", e.heads, e.kv_heads));
    const Shape shape{e.batch, e.kv_heads, span.rows.size(), e.head_dim};
    expect(span.k, dtype, shape, "Attention k");
    expect(span.v, dtype, shape, "Attention v");
    if (!span.dk != !span.dv) throw ShapeError(fmt::format("Attention: span {} wants only one of dk and dv", s));
    if (span.dk) expect_stored_or_sums(span.dk, dtype, shape, "Attention dk");
    if (span.dv) expect_stored_or_sums(span.dv, dtype, shape, "Attention dv");
  }
  return e;
}

template <class T>
std::vector<AttentionKeys<T>> typed(std::span<const KeySpan> spans) {
  std::vector<AttentionKeys<T>> keys;
  for (const KeySpan& span : spans)
    keys.push_back({span.k.as<T>(), span.v.as<T>(), span.dk ? span.dk.as<T>() : nullptr,
                    span.dv ? span.dv.as<T>() : nullptr, span.rows.host()});
  return keys;
}

/// Of so many products over all visible pairs; counted for a profile only. What backward computes again does not count.
double flops_of(const Queue& queue, AttentionExtents e, const RowTable& rows, std::span<const KeySpan> spans,
                int products) {
  if (!queue.profile()) return 0;
  int64_t pairs = 0;
  for (const KeySpan& span : spans) pairs += visible_pairs(rows.host(), span.rows.host());
  return 2.0 * products * static_cast<double>(e.batch * e.heads * e.head_dim * pairs);
}

}  // namespace

int64_t visible_pairs(std::span<const Row> rows, std::span<const Row> keys) {
  std::vector<int32_t> orders;
  for (const Row& key : keys) orders.push_back(key.order);
  std::sort(orders.begin(), orders.end());
  const auto count = [&](int32_t from, int32_t to) {
    return std::upper_bound(orders.begin(), orders.end(), to) - std::lower_bound(orders.begin(), orders.end(), from);
  };
  int64_t pairs = 0;
  for (const Row& row : rows) {
    const int32_t from = std::max(row.from, kSinksEnd);
    pairs += count(kFirstSink, std::min(row.to, kSinksEnd - 1));
    if (from <= row.to) pairs += count(from, row.to);
    if (!in_range(row, row.order)) pairs += count(row.order, row.order);
  }
  return pairs;
}

void LocalAttention::forward_part(Queue& queue, View<> o, View<> lse, Write write, ConstView<> q, const RowTable& rows,
                                  std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(queue, q, o, lse, rows, spans);
  if (!queue.device() && q.dtype() == DType::BF16)
    return wide<&LocalAttention::forward_part>(queue, o, lse, write, q, rows, spans);
  const Timed timed(queue, "Attention forward", flops_of(queue, e, rows, spans, 2), q, o);
  if (queue.device()) return attention_cuda->forward_part(queue, o, lse, write, q, rows, spans);
  if (queue.reference(q.dtype()))
    return by_float_type(q.dtype(), [&]<class T>() {
      reference::attention_forward(o.as<T>(), lse.as<T>(), write, q.as<T>(), rows.host(), typed<T>(spans), e, queue);
    });
  cpu::attention_forward(queue, o.as<float>(), lse.as<float>(), write, q.as<float>(), rows.host(), typed<float>(spans),
                         e);
}

void LocalAttention::backward_part(Queue& queue, View<> dq, Write write, ConstView<> d_o, ConstView<> o,
                                   ConstView<> lse, ConstView<> q, const RowTable& rows,
                                   std::span<const KeySpan> spans) {
  const AttentionExtents e = extents_of(queue, q, o, lse, rows, spans);
  expect(d_o, q.dtype(), q.shape(), "Attention d_o");
  if (dq) expect_stored_or_sums(dq, q.dtype(), q.shape(), "Attention dq");
  if (!queue.device() && q.dtype() == DType::BF16)
    return wide<&LocalAttention::backward_part>(queue, dq, write, d_o, o, lse, q, rows, spans);
  const Timed timed(queue, "Attention backward", flops_of(queue, e, rows, spans, 4), q, o, d_o, dq);
  if (queue.device()) return attention_cuda->backward_part(queue, dq, write, d_o, o, lse, q, rows, spans);
  if (queue.reference(q.dtype()))
    return by_float_type(q.dtype(), [&]<class T>() {
      reference::attention_backward(dq ? dq.as<T>() : nullptr, write, d_o.as<T>(), o.as<T>(), lse.as<T>(), q.as<T>(),
                                    rows.host(), typed<T>(spans), e, queue);
    });
  cpu::attention_backward(queue, dq ? dq.as<float>() : nullptr, write, d_o.as<float>(), o.as<float>(), lse.as<float>(),
                          q.as<float>(), rows.host(), typed<float>(spans), e);
}

}  // namespace memring
