// GatherAttention: attention over rows that the ranks of a token axis hold between them, with the bits of one rank
// (run.deterministic = strict): what a rank needs of the others is gathered whole, and its sums run over it in the
// order of the layout. RingAttention needs less memory and hides its messages, but its order of keys follows from the
// ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/arena.h"
#include "dist/communicator.h"
#include "dist/ring_plan.h"
#include "kernels/attention/attention.h"

namespace memring {

/// A query's sums run over keys in their order, those of a key over heads and queries in theirs, one after the other:
/// LocalAttention's bits do not depend on which other rows a call holds. So forward takes own queries and all keys;
/// backward the same for dq, and then own keys and all queries for dk and dv, which makes the scores once more.
///
/// All ranks of the axis call this alike, with one span of keys, which is split over ranks.
class GatherAttention final : public AttentionExecutor {
 public:
  explicit GatherAttention(Communicator& token) : token_(token) {}

  /// Bytes of buffers on each rank, for the rows of the whole layout.
  static int64_t buffer_bytes(DType, int64_t batch, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t rows,
                              bool backward);
  /// Buffers for all calls from now on.
  void allocate(int64_t bytes) { buffers_ = Arena(bytes); }

  /// The layout of the segment that the next calls are about: the rows of all ranks.
  void enter(const RingPlan&, const std::vector<Row>& layout);

  void forward(Queue&, View<> o, View<> lse, ConstView<> q, std::span<const Row> rows,
               std::span<const KeySpan>) override;
  void backward(Queue&, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                std::span<const Row> rows, std::span<const KeySpan>) override;

 private:
  /// The rows of all ranks, [batch, heads, rows, width] in the order of the layout, of `mine` [batch, heads, own,
  /// width].
  View<> gather(Queue&, ConstView<> mine);

  Communicator& token_;
  RingPlan plan_{0, 1};
  std::vector<Row> layout_;
  Arena buffers_;
};

}  // namespace memring
