// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/ids.h"
#include "base/queue.h"
#include "kernels/common/row_table.h"
#include "kernels/common/write.h"

namespace memring {

/// Keys and values that queries may see, with one Row per key; a query's spans lie behind each other.
/// Causal attention, RMT's memory blocks, UIO's memory keys, sliding windows and every ring split differ in rows only.
struct KeySpan {
  ConstView<> k, v;  ///< [batch, kv_heads, keys, head_dim], rotated already
  View<> dk, dv;     ///< same shape; backward accumulates; empty when no gradient is wanted
  RowTable rows;     ///< keys; only `order` decides visibility
  /// On a token axis: the same keys on every rank, in front of the last span. Backward then leaves in dk and dv, which
  /// must be 0 before, the sum over the queries of all ranks.
  bool replicated = false;
};

/// softmax(q kᵀ / sqrt(head_dim)) v over the keys that a query row sees, as `sees` says (Vaswani et al. 2017; computed
/// in blocks with a running maximum, Dao et al. 2022: no rows x keys matrix is ever stored).
///
/// Query head j reads key/value head j / (heads / kv_heads). A row that sees no key gets o = 0 and lse = -inf, and
/// sends no gradient. Keys and values that a row does not see must be finite even so: backends that go by blocks
/// multiply them by 0. All views have one type, fp32 or fp64; or bf16, and then lse is fp32, and o, dq, dk
/// and dv may be. Same bits for any thread count.
struct AttentionExecutor {
  virtual ~AttentionExecutor() = default;
  // o, q [batch, heads, rows, head_dim] · lse [batch, heads, rows]: log of the softmax denominator, kept for backward
  virtual void forward(Queue&, View<> o, View<> lse, ConstView<> q, const RowTable& rows, std::span<const KeySpan>) = 0;
  // dq is written, dk and dv of every span are accumulated
  virtual void backward(Queue&, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                        const RowTable& rows, std::span<const KeySpan>) = 0;
};

/// All keys are here. (On a token axis dist/token_attention.h takes this place.)
class LocalAttention final : public AttentionExecutor {
 public:
  void forward(Queue& queue, View<> o, View<> lse, ConstView<> q, const RowTable& rows,
               std::span<const KeySpan> spans) override {
    forward_part(queue, o, lse, Write::Overwrite, q, rows, spans);
  }
  void backward(Queue& queue, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                const RowTable& rows, std::span<const KeySpan> spans) override {
    backward_part(queue, dq, Write::Overwrite, d_o, o, lse, q, rows, spans);
  }

  /// Keys that come in parts, all rows of a query's softmax never here at the same time. Accumulate: o and lse hold
  /// attention over other keys, and become that over both: the running maximum goes on from lse with the sum 1, so a
  /// part costs no pass of its own to merge. A row that sees none of these keys keeps its bits.
  static void forward_part(Queue&, View<> o, View<> lse, Write, ConstView<> q, const RowTable& rows,
                           std::span<const KeySpan>);
  /// o and lse are those over all parts; Accumulate adds to dq, which may be empty: not wanted.
  static void backward_part(Queue&, View<> dq, Write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                            const RowTable& rows, std::span<const KeySpan>);
  /// What backward_part asks a device's Queue::workspace for, with so many rows of all heads and sequences.
  static int64_t workspace_bytes(DType dtype, int64_t rows) {
    return dtype == DType::BF16 ? rows * bytes_of(DType::F32) : 0;
  }
};

/// Whether an order lies in what a query sees; an attention sink is as late as can be for `from`.
constexpr bool in_range(const Row& query, int32_t order) {
  return (query.from <= order || order < kSinksEnd) && order <= query.to;
}
/// Whether a query sees a key: the one visibility rule of the project.
constexpr bool sees(const Row& query, const Row& key) { return in_range(query, key.order) || key.order == query.order; }

/// How many of all pairs of a query row and a key see each other: what the flops of attention are counted by.
int64_t visible_pairs(std::span<const Row> rows, std::span<const Row> keys);

}  // namespace memring
