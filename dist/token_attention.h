// TokenAttention: attention over rows that the ranks of a token axis hold between them. How the rows of the others are
// met is chosen once, where it is made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "base/arena.h"
#include "dist/progress.h"
#include "dist/ring_plan.h"
#include "dist/token_attention_sizes.h"
#include "dist/transport.h"
#include "kernels/attention/attention.h"

namespace memring {

/// All ranks of the axis make the calls of AttentionExecutor alike, each with its own rows of the same layout, of which
/// the last span holds the keys.
class TokenAttention : public AttentionExecutor {
 public:
  /// Buffers for all calls from now on.
  void allocate(const Queue& queue, int64_t bytes) { buffers_ = queue.arena(bytes); }

  /// Where to note which rank is waited for.
  void note_in(Progress& progress) { progress_ = &progress; }

  /// The layout of the segment that the next calls are about: the rows of all ranks.
  virtual void enter(const Queue&, const RingPlan&, const std::vector<Row>& layout) = 0;

 protected:
  Arena buffers_;
  Progress* progress_ = nullptr;
};

/// On one rank nothing is sent; on several the ring (RingAttention), or, `strict`, what has the bits of one rank
/// (GatherAttention). `token` must outlive it.
std::unique_ptr<TokenAttention> make_token_attention(Transport& token, bool strict);
}  // namespace memring
