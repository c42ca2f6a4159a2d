// SPDX-License-Identifier: Apache-2.0
#include "dist/token_attention.h"

#include "dist/gather_attention.h"
#include "dist/ring_attention.h"

namespace memring {
namespace {

/// All rows are here.
class OneRankAttention final : public TokenAttention {
 public:
  void enter(const Queue&, const RingPlan&, const std::vector<Row>&) override {}
  void forward(Queue& queue, View<> o, View<> lse, ConstView<> q, const RowTable& rows,
               std::span<const KeySpan> spans) override {
    local_.forward(queue, o, lse, q, rows, spans);
  }
  void backward(Queue& queue, View<> dq, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                const RowTable& rows, std::span<const KeySpan> spans) override {
    local_.backward(queue, dq, d_o, o, lse, q, rows, spans);
  }

 private:
  LocalAttention local_;
};

}  // namespace

std::unique_ptr<TokenAttention> make_token_attention(Transport& token, bool strict) {
  if (token.size() == 1) return std::make_unique<OneRankAttention>();
  if (strict) return std::make_unique<over_ranks::GatherAttention>(token);
  return std::make_unique<over_ranks::RingAttention>(token);
}

int64_t token_attention_bytes(bool strict, DType dtype, const AttentionHeads& heads, const RingPlan& plan,
                              bool backward) {
  if (plan.ranks() == 1) return 0;
  return strict ? over_ranks::GatherAttention::buffer_bytes(dtype, heads, plan, backward)
                : over_ranks::RingAttention::buffer_bytes(dtype, heads, plan, backward);
}

}  // namespace memring
