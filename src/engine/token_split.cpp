// SPDX-License-Identifier: Apache-2.0
#include "engine/token_split.h"

#include "base/arena.h"
#include "base/ids.h"
#include "dist/token_attention_sizes.h"
#include "kernels/common/row_table.h"

namespace memring {

int64_t TokenSplit::buffer_bytes(const ModelShape& m, DType dtype, int64_t batch, int64_t rows, bool backward) const {
  return token_attention_bytes(block > 0, dtype, {batch, m.heads, m.kv_heads, m.head_dim}, plan(rows), backward);
}

// All rows for a moment; with several ranks attention keeps them.
int64_t TokenSplit::table_bytes(int64_t rows) const {
  const int64_t here = count(rows), row = sizeof(Row), number = sizeof(int32_t);
  return rows * row + here * (row + number) + (ranks > 1 ? rows * row : 0);
}

int64_t TokenSplit::uploaded_bytes(int64_t rows) const {
  Arena measure;
  const auto table = [&](int64_t of_rows) { measure.take<int32_t>({RowTable::numbers(of_rows)}); };
  table(count(rows));
  for (int other = 0; ranks > 1 && other < ranks; ++other) table(plan(rows).count(other));
  return measure.peak();
}

}  // namespace memring
