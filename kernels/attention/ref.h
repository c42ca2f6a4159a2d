// Attention: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "base/queue.h"
#include "kernels/attention/operands.h"
#include "kernels/common/write.h"

namespace memring::reference {

// The queue says how products round, and is polled between queries.

template <class T>
void attention_forward(T* o, T* lse, Write, const T* q, std::span<const Row> rows,
                       const std::vector<AttentionKeys<T>>& spans, AttentionExtents, const Queue&);
template <class T>
void attention_backward(T* dq, Write, const T* d_o, const T* o, const T* lse, const T* q, std::span<const Row> rows,
                        const std::vector<AttentionKeys<T>>& spans, AttentionExtents, const Queue&);

}  // namespace memring::reference
