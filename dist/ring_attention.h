// RingAttention: exact attention over rows that the ranks of a token axis hold between them (Liu et al. 2023). Queries
// stay; keys and values go round the ring, and each rank goes on with its softmax over them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dist/token_attention.h"

namespace memring::over_ranks {

/// Forward sends the keys and values of all heads as one message a hop, R - 1 of them; the next one travels while this
/// one is computed on. Backward sends them round again, and the gradient of each block straight back to its owner,
/// which adds what arrives in the order of the hops: 2 (R - 1) messages. The running softmax and all sums are fp32 or
/// fp64, whatever the ring (bf16 sums would lose sqrt(R) in accuracy: specs/ring.md 1.7), and their order is fixed: the
/// same mesh gives the same bits.
///
/// Key blocks that no query sees are not computed on.
class RingAttention final : public TokenAttention {
 public:
  explicit RingAttention(Transport& token) : token_(token) {}

  static int64_t buffer_bytes(DType, const AttentionHeads&, const RingPlan&, bool backward);
  void enter(const Queue&, const RingPlan&, const std::vector<Row>& layout) override;
  void forward(Queue&, View<> o, View<> lse, ConstView<> q, const RowTable& rows, std::span<const KeySpan>) override;
  void backward(Queue&, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q, const RowTable& rows,
                std::span<const KeySpan>) override;

 private:
  class KeyRing;
  void wait(Queue&, Transfer&, int peer);

  Transport& token_;
  RingPlan plan_{0, 1};
  RowStore store_;
  std::vector<RowTable> rows_;  ///< by rank
};

}  // namespace memring::over_ranks
