// Inner loops of attention, built once per instruction set. The products are our own: on blocks of this size they
// run at the machine's ceiling, where a library call still packs its operands.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/loops.h"

#include "base/orders.h"
#include "kernels/common/simd_math.h"

namespace memring::MEMRING_ISA {
namespace {

// A tile of C lives in registers: rows x vectors of accumulators, beside `vectors` of B and one broadcast of A.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kTileRows = 6, kTileVectors = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kTileRows = 6, kTileVectors = 2;
#else
constexpr int kLanes = 4, kTileRows = 4, kTileVectors = 2;
#endif
static_assert(kQueryPadding % kLanes == 0);

template <int Lanes>
struct Pack {
  typedef float Type __attribute__((vector_size(Lanes * 4), aligned(4), may_alias));
};

/// A [., k] with its strides, and a column panel of B and C.
struct Operands {
  int64_t k;
  const float* a;
  int64_t row, col;
  const float* b;
  int64_t ldb;
  bool add;
  float* c;
  int64_t ldc;
};

template <int Lanes, int Rows, int Vectors>
void tile(const Operands& x, int64_t i) {
  using Vector = typename Pack<Lanes>::Type;
  const float *a = x.a + i * x.row, *b = x.b;
  float* const c = x.c + i * x.ldc;
  Vector sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
      sum[r][v] = x.add ? *reinterpret_cast<const Vector*>(c + r * x.ldc + v * Lanes) : Vector{};
  for (int64_t k = 0; k < x.k; ++k, a += x.col, b += x.ldb) {
    Vector right[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) right[v] = *reinterpret_cast<const Vector*>(b + v * Lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[r][v] += a[r * x.row] * right[v];
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) *reinterpret_cast<Vector*>(c + r * x.ldc + v * Lanes) = sum[r][v];
}

/// All m rows of Lanes * Vectors columns; moves on to the columns behind them.
template <int Lanes, int Vectors>
void panel(Operands& x, int64_t m, int64_t& columns) {
  int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) tile<Lanes, kTileRows, Vectors>(x, i);
  for (; i + 2 <= m; i += 2) tile<Lanes, 2, Vectors>(x, i);
  if (i < m) tile<Lanes, 1, Vectors>(x, i);
  x.b += Lanes * Vectors;
  x.c += Lanes * Vectors;
  columns -= Lanes * Vectors;
}

void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t row, int64_t col, const float* b, int64_t ldb,
             Write write, float* c, int64_t ldc) {
  Operands x{k, a, row, col, b, ldb, write == Write::Accumulate, c, ldc};
  while (n >= kLanes * kTileVectors) panel<kLanes, kTileVectors>(x, m, n);
  if (n >= 2 * kLanes) panel<kLanes, 2>(x, m, n);
  if (n >= kLanes) panel<kLanes, 1>(x, m, n);
  if constexpr (kLanes > 8)
    if (n >= 8) panel<8, 1>(x, m, n);
  if constexpr (kLanes > 4)
    if (n >= 4) panel<4, 1>(x, m, n);
  while (n > 0) panel<1, 1>(x, m, n);
}

void transpose(float* out, int64_t padded, const float* in, int64_t ld, int64_t rows, int64_t cols) {
  for (int64_t c = 0; c < cols; ++c, out += padded) {
    for (int64_t r = 0; r < rows; ++r) out[r] = in[r * ld + c];
    for (int64_t r = rows; r < padded; ++r) out[r] = 0;
  }
}

void mask(float* scores, int64_t keys, int64_t queries, const int32_t* key_order, const AttentionQueries& rows) {
  for (int64_t j = 0; j < keys; ++j, scores += queries) {
    const int32_t key = key_order[j], latest = key < kSinksEnd ? std::numeric_limits<int32_t>::max() : key;
#pragma omp simd
    for (int64_t i = 0; i < queries; ++i) {
      const bool visible = ((rows.from[i] <= latest) & (key <= rows.to[i])) | (key == rows.order[i]);
      scores[i] = visible ? scores[i] : -__builtin_inff();
    }
  }
}

bool softmax(float* scores, int64_t keys, int64_t queries, float scale, float* max, float* sum, float* correction) {
  float shift[kMostQueries];
  for (int64_t i = 0; i < queries; ++i) shift[i] = -__builtin_inff();
  for (int64_t j = 0; j < keys; ++j) {
    const float* const row = scores + j * queries;
#pragma omp simd
    for (int64_t i = 0; i < queries; ++i) shift[i] = row[i] > shift[i] ? row[i] : shift[i];
  }
  bool changed = false;
#pragma omp simd reduction(| : changed)
  for (int64_t i = 0; i < queries; ++i) {
    const float highest = shift[i] * scale > max[i] ? shift[i] * scale : max[i];
    // A query that has seen no key yet: -inf - -inf would be NaN.
    shift[i] = highest == -__builtin_inff() ? 0.0f : highest;
    correction[i] = simd_exp(max[i] - shift[i]);
    sum[i] *= correction[i];
    max[i] = highest;
    changed |= correction[i] != 1.0f;
  }
  for (int64_t j = 0; j < keys; ++j) {
    float* const row = scores + j * queries;
#pragma omp simd
    for (int64_t i = 0; i < queries; ++i) {
      row[i] = simd_exp(row[i] * scale - shift[i]);
      sum[i] += row[i];
    }
  }
  return changed;
}

void gradient(float* scores, float* d_scores, int64_t keys, int64_t queries, float scale, const float* lse,
              const float* delta) {
  for (int64_t j = 0; j < keys; ++j, scores += queries, d_scores += queries)
#pragma omp simd
    for (int64_t i = 0; i < queries; ++i) {
      const float p = simd_exp(scores[i] * scale - lse[i]);
      scores[i] = p;
      d_scores[i] = scale * p * (d_scores[i] - delta[i]);
    }
}

void scale_rows(float* x, const float* factor, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r, x += cols) {
    const float f = factor[r];
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) x[c] *= f;
  }
}

void dot_rows(float* dot, const float* x, const float* y, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < cols; ++c) sum += x[c] * y[c];
    dot[r] = sum;
  }
}

}  // namespace

const AttentionLoops attention_loops{product, transpose, mask, softmax, gradient, scale_rows, dot_rows};

}  // namespace memring::MEMRING_ISA
