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
// dq may be null
void attention_backward(const Queue&, float* dq, Write, const float* d_o, const float* o, const float* lse,
                        const float* q, std::span<const Row> rows, const std::vector<AttentionKeys<float>>& spans,
                        AttentionExtents);

}  // namespace memring::cpu
