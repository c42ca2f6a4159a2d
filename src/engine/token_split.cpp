// SPDX-License-Identifier: Apache-2.0
#include "engine/token_split.h"

#include "dist/gather_attention.h"
#include "dist/ring_attention.h"

namespace memring {

int64_t TokenSplit::buffer_bytes(const ModelShape& m, DType dtype, int64_t batch, int64_t rows, bool backward) const {
  if (ranks == 1) return 0;
  if (block > 0) return GatherAttention::buffer_bytes(dtype, batch, m.heads, m.kv_heads, m.head_dim, rows, backward);
  return RingAttention::buffer_bytes(dtype, batch, m.kv_heads, m.head_dim, plan(rows), backward);
}

}  // namespace memring
