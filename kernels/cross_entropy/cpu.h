// Output head and loss: the fast path. Private to kernels/cross_entropy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/cross_entropy/operands.h"

namespace memring::cpu {

// logits: scratch of CrossEntropyLogits
void cross_entropy_forward(Queue&, float* nll, const float* hidden, const float* weight, const int32_t* targets,
                           CrossEntropyExtents, float* logits, int64_t first);
// d_weight [vocab, dim] of fp32 or exact sums, or empty
void cross_entropy_forward_backward(Queue&, float* nll, float* d_hidden, View<> d_weight, const float* hidden,
                                    const float* weight, const int32_t* targets, CrossEntropyExtents, float* logits,
                                    int64_t first);
// logits of both models
void cross_entropy_distil(Queue&, float* loss, float* d_hidden, const float* hidden, const float* taught, double share,
                          const float* weight, const int32_t* targets, CrossEntropyExtents, float* logits,
                          int64_t first);

}  // namespace memring::cpu
