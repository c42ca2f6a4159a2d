// SPDX-License-Identifier: Apache-2.0
#include "engine/token_split.h"

#include "dist/token_attention.h"

namespace memring {

int64_t TokenSplit::buffer_bytes(const ModelShape& m, DType dtype, int64_t batch, int64_t rows, bool backward) const {
  return token_attention_bytes(block > 0, dtype, {batch, m.heads, m.kv_heads, m.head_dim}, plan(rows), backward);
}

}  // namespace memring
