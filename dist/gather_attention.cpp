// SPDX-License-Identifier: Apache-2.0
#include "dist/gather_attention.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace memring::over_ranks {
namespace {

Shape with_rows(ConstView<> x, int64_t rows) { return {x.dim(0), x.dim(1), rows, x.dim(3)}; }

}  // namespace

int64_t GatherAttention::buffer_bytes(DType dtype, const AttentionHeads& h, const RingPlan& plan, bool backward) {
  // Two tensors of keys, or four with a row for each query, and the message of the last of them.
  Arena keys, queries;
  for (int i = 0; i < 3; ++i) keys.take(dtype, {h.batch, h.kv_heads, plan.rows(), h.head_dim});
  for (int i = 0; i < 4; ++i) queries.take(dtype, {h.batch, h.heads, plan.rows(), h.head_dim});
  queries.take(dtype, {h.batch, h.heads, plan.rows(), 1});
  return backward ? std::max(keys.peak(), queries.peak()) : keys.peak();
}

void GatherAttention::enter(const Queue&, const RingPlan& plan, const std::vector<Row>& layout) {
  plan_ = plan;
  layout_ = layout;
}

View<> GatherAttention::gather(Queue& queue, ConstView<> mine) {
  const int64_t matrices = mine.dim(0) * mine.dim(1), width = mine.dim(3) * bytes_of(mine.dtype()),
                all_rows = plan_.rows();
  const View<> all = buffers_.take(mine.dtype(), with_rows(mine, all_rows));
  const ArenaScope scope(buffers_);
  const View<uint8_t> message = buffers_.take<uint8_t>({all.bytes()});
  std::vector<int64_t> bounds{0};
  for (int rank = 0; rank < plan_.ranks(); ++rank)
    bounds.push_back(bounds.back() + matrices * plan_.count(rank) * width);
  std::byte* const messages = message.host_bytes().data();
  std::memcpy(messages + bounds[static_cast<size_t>(token_.rank())], mine.host_bytes().data(),
              mine.host_bytes().size());
  {
    const NotedWait noted(progress_);
    token_.all_gather_shards(queue, message, bounds).join(queue);
  }
  // A rank's part is [matrices, its rows]: the low chunk, and behind it the high one.
  std::byte* const to = all.host_bytes().data();
  for (int rank = 0; rank < plan_.ranks(); ++rank) {
    const std::byte* from = messages + bounds[static_cast<size_t>(rank)];
    for (int64_t matrix = 0; matrix < matrices; ++matrix)
      for (const Range& chunk : plan_.chunks(rank)) {
        std::memcpy(to + (matrix * all_rows + chunk.begin) * width, from, static_cast<size_t>(chunk.size() * width));
        from += chunk.size() * width;
      }
  }
  return all;
}

std::vector<KeySpan> GatherAttention::with_all_keys(Queue& queue, std::span<const KeySpan> spans) {
  std::vector<KeySpan> all(spans.begin(), spans.end());
  KeySpan& own = all.back();
  own.k = gather(queue, own.k);
  own.v = gather(queue, own.v);
  own.rows = layout_;
  for (KeySpan& span : all) span.dk = span.dv = {};
  return all;
}

void GatherAttention::forward(Queue& queue, View<> o, View<> lse, ConstView<> q, const RowTable& rows,
                              std::span<const KeySpan> spans) {
  const ArenaScope scope(buffers_);
  LocalAttention::forward_part(queue, o, lse, Write::Overwrite, q, rows, with_all_keys(queue, spans));
}

void GatherAttention::backward(Queue& queue, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                               const RowTable& rows, std::span<const KeySpan> spans) {
  {
    const ArenaScope scope(buffers_);
    LocalAttention::backward_part(queue, dq, Write::Overwrite, d_o, o, lse, q, rows, with_all_keys(queue, spans));
  }
  const ArenaScope scope(buffers_);
  const Shape one_wide{lse.dim(0), lse.dim(1), lse.dim(2), 1};
  const View<> all_lse = gather(queue, lse.reshaped(one_wide));
  const View<> all_q = gather(queue, q), all_d_o = gather(queue, d_o), all_o = gather(queue, o);
  LocalAttention::backward_part(queue, {}, Write::Overwrite, all_d_o, all_o,
                                all_lse.reshaped({lse.dim(0), lse.dim(1), plan_.rows()}), all_q, layout_, spans);
}

}  // namespace memring::over_ranks
