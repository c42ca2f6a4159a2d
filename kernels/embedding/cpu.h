// Token embedding: the fast path. Private to kernels/embedding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring::cpu {

void embedding_forward(const Queue&, float* y, const float* table, const int32_t* ids, int64_t rows, int64_t dim);
// d_table [vocab, dim] of fp32 or exact sums
void embedding_backward(const Queue&, View<> d_table, const float* dy, const int32_t* ids, int64_t rows, int64_t dim);

}  // namespace memring::cpu
