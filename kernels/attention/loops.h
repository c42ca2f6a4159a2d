// Inner loops of attention. Scores of a block lie transposed, [keys, queries]: each query has its own lane, so maximum,
// sum and mask are vertical, and keys and values are read as they are stored. Private to
// kernels/attention.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"
#include "kernels/common/write.h"

namespace memring {

constexpr int64_t kMostQueries = 128;  ///< of one block
constexpr int64_t kQueryPadding = 16;  ///< lanes of the widest vector: blocks of queries are padded to a multiple of it

/// One block of queries by member. Padding rows see nothing.
struct AttentionQueries {
  int32_t from[kMostQueries], to[kMostQueries], order[kMostQueries];
};

struct AttentionLoops {
  // C [m, n] = (+=) A B. A's element (i, k) is a[i * row + k * col]; rows of B [k, n] and C are ldb and ldc apart.
  void (*product)(int64_t m, int64_t n, int64_t k, const float* a, int64_t row, int64_t col, const float* b,
                  int64_t ldb, Write write, float* c, int64_t ldc);

  // out [cols, padded] = in [rows, cols] transposed, zeros in the columns from `rows` on; rows of `in` are ld apart
  void (*transpose)(float* out, int64_t padded, const float* in, int64_t ld, int64_t rows, int64_t cols);

  // In all that follow `queries` is padded; scores and d_scores [keys, queries].

  // scores = -inf where the query does not see the key
  void (*mask)(float* scores, int64_t keys, int64_t queries, const int32_t* key_order, const AttentionQueries& rows);

  // The step of the running softmax: max grows to cover scale * scores, scores become exp(scale * scores - max), sum
  // takes them in. `correction` is what an earlier partial output must be multiplied by; returns whether any of them is
  // not 1.
  bool (*softmax)(float* scores, int64_t keys, int64_t queries, float scale, float* max, float* sum, float* correction);

  // scores become p = exp(scale * scores - lse), d_scores (in: dp) become scale * p * (dp - delta)
  void (*gradient)(float* scores, float* d_scores, int64_t keys, int64_t queries, float scale, const float* lse,
                   const float* delta);

  // row i of x [rows, cols] *= factor[i]
  void (*scale_rows)(float* x, const float* factor, int64_t rows, int64_t cols);

  // dot[i] = x_i · y_i over rows of x, y [rows, cols]
  void (*dot_rows)(float* dot, const float* x, const float* y, int64_t rows, int64_t cols);
};
MEMRING_DECLARE_LOOPS(AttentionLoops, attention_loops)

}  // namespace memring
