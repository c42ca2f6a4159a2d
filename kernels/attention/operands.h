// Attention: its extents and keys, as every backend takes them. Private to kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace memring {

struct AttentionExtents {
  int64_t batch, heads, kv_heads, rows, head_dim;
};

template <class T>
struct AttentionKeys {
  const T *k, *v;             // [batch, kv_heads, rows.size(), head_dim]
  T *dk, *dv;                 // the same, or null
  std::span<const Row> rows;  // keys
};

}  // namespace memring
