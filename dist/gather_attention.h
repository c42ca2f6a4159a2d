// GatherAttention: attention over rows that the ranks of a token axis hold between them, with the bits of one rank
// (run.deterministic = strict): what a rank needs of the others is gathered whole, and its sums run over it in the
// order of the layout. RingAttention needs less memory and hides its messages, but its order of keys follows from the
// ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dist/token_attention.h"

namespace memring::over_ranks {

/// A query's sums run over keys in their order, those of a key over heads and queries in theirs, one after the other:
/// LocalAttention's bits do not depend on which other rows a call holds. So forward takes own queries and all keys;
/// backward the same for dq, and then own keys and all queries for dk and dv, which makes the scores once more. Spans
/// in front of the last, which are replicated, take part in both as they are.
class GatherAttention final : public TokenAttention {
 public:
  explicit GatherAttention(Transport& token) : token_(token) {}

  static int64_t buffer_bytes(DType, const AttentionHeads&, const RingPlan&, bool backward);
  void enter(const Queue&, const RingPlan&, const std::vector<Row>& layout) override;
  void forward(Queue&, View<> o, View<> lse, ConstView<> q, const RowTable& rows, std::span<const KeySpan>) override;
  void backward(Queue&, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q, const RowTable& rows,
                std::span<const KeySpan>) override;

 private:
  /// The rows of all ranks, [batch, heads, rows, width] in the order of the layout, of `mine` [batch, heads, own,
  /// width].
  View<> gather(Queue&, ConstView<> mine);
  /// The last span's keys become those of all ranks; no gradient is wanted.
  std::vector<KeySpan> with_all_keys(Queue&, std::span<const KeySpan>);

  Transport& token_;
  RingPlan plan_{0, 1};
  std::vector<Row> layout_;
};

}  // namespace memring::over_ranks
