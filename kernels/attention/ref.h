// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring::reference {

struct AttentionExtents {
  int64_t batch, heads, kv_heads, rows, head_dim;
};

template <class T>
struct AttentionKeys {
  const T *k, *v;             // [batch, kv_heads, rows.size(), head_dim]
  T *dk, *dv;                 // the same, or null
  std::span<const Row> rows;  // keys
};

// The queue says how products round, and is polled between queries.

template <class T>
void attention_forward(T* o, T* lse, Write, const T* q, std::span<const Row> rows,
                       const std::vector<AttentionKeys<T>>& spans, AttentionExtents, const Queue&);
template <class T>
void attention_backward(T* dq, Write, const T* d_o, const T* o, const T* lse, const T* q, std::span<const Row> rows,
                        const std::vector<AttentionKeys<T>>& spans, AttentionExtents, const Queue&);

}  // namespace memring::reference
