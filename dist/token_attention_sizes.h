// What the message buffers of a TokenAttention take: asked where no rank is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/view.h"
#include "dist/ring_plan.h"

namespace memring {

/// What attention is over besides rows.
struct AttentionHeads {
  int64_t batch, heads, kv_heads, head_dim;
};

/// Bytes of its message buffers on each rank of that plan for calls of these sizes, at the most.
int64_t token_attention_bytes(bool strict, DType, const AttentionHeads&, const RingPlan&, bool backward);

}  // namespace memring
