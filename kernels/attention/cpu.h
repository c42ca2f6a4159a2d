// Attention: the fast path. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "base/queue.h"
#include "kernels/attention/operands.h"
#include "kernels/common/write.h"

namespace memring::cpu {

void attention_forward(const Queue&, float* o, float* lse, Write, const float* q, std::span<const Row> rows,
                       const std::vector<AttentionKeys<float>>& spans, AttentionExtents);
// dq may be null. Beside each thread's scratch (blocks.h) this takes 8 bytes for each range of keys of each (batch,
// kv_head)
void attention_backward(const Queue&, float* dq, Write, const float* d_o, const float* o, const float* lse,
                        const float* q, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                        AttentionExtents);

}  // namespace memring::cpu
