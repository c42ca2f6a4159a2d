// Attention, reference: one query row at a time, its scores over the visible keys of all spans in one list.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/ref.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/common/operand.h"

namespace memring::reference {
namespace {

template <class T>
T dot(const T* x, const T* y, int64_t count, Products products) {
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += operand(x[i], products) * operand(y[i], products);
  return sum;
}

/// y += factor x
template <class T>
void add(T* y, T factor, const T* x, int64_t count, Products products) {
  for (int64_t i = 0; i < count; ++i) y[i] += operand(factor, products) * operand(x[i], products);
}

/// A key that the query sees: its vectors of head_dim numbers, and its score or probability.
template <class T>
struct Seen {
  const T *k, *v;
  T *dk, *dv;
  T weight;
};

/// The visible keys of one (batch, kv_head) with their scores, spans and keys in ascending order.
template <class T>
void see(std::vector<Seen<T>>& seen, const T* q, const Row& query, const std::vector<AttentionKeys<T>>& spans,
         int64_t kv_matrix, int64_t head_dim, Products products) {
  const T scale = 1 / std::sqrt(static_cast<T>(head_dim));
  seen.clear();
  for (const AttentionKeys<T>& span : spans)
    for (size_t j = 0; j < span.rows.size(); ++j) {
      if (!sees(query, span.rows[j])) continue;
      const int64_t at = (kv_matrix * static_cast<int64_t>(span.rows.size()) + static_cast<int64_t>(j)) * head_dim;
      seen.push_back({span.k + at, span.v + at, span.dk ? span.dk + at : nullptr, span.dv ? span.dv + at : nullptr,
                      scale * dot(q, span.k + at, head_dim, products)});
    }
}

/// Calls body(row of the query tensor, its Row, matrix of the key tensors) for each (batch, head, query row).
template <class Body>
void for_queries(const Queue& queue, std::span<const Row> rows, AttentionExtents e, const Body& body) {
  const int64_t group = e.heads / e.kv_heads;
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t i = 0; i < e.rows; ++i, queue.poll())
        body((b * e.heads + h) * e.rows + i, rows[static_cast<size_t>(i)], b * e.kv_heads + h / group);
}

}  // namespace

// p = exp(score - max),  o = sum of p v / sum of p,  lse = max + log(sum of p). What is accumulated to takes part as
// one more key with the score lse and the value o.
template <class T>
void attention_forward(T* o, T* lse, Write write, const T* q, std::span<const Row> rows,
                       const std::vector<AttentionKeys<T>>& spans, AttentionExtents e, const Queue& queue) {
  const Products products = queue.products();
  std::vector<Seen<T>> seen;
  for_queries(queue, rows, e, [&](int64_t at, const Row& query, int64_t kv_matrix) {
    T* const y = o + at * e.head_dim;
    see(seen, q + at * e.head_dim, query, spans, kv_matrix, e.head_dim, products);
    if (write == Write::Accumulate && seen.empty()) return;
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    const T before = write == Write::Accumulate ? lse[at] : -kInfinity;
    T max = before;
    for (const Seen<T>& key : seen) max = std::max(max, key.weight);
    T sum = before == -kInfinity ? 0 : std::exp(before - max);
    for (int64_t c = 0; c < e.head_dim; ++c) y[c] = sum == 0 ? 0 : sum * y[c];
    for (const Seen<T>& key : seen) {
      const T p = std::exp(key.weight - max);
      add(y, p, key.v, e.head_dim, products);
      sum += p;
    }
    for (int64_t c = 0; c < e.head_dim && !seen.empty(); ++c) y[c] /= sum;
    lse[at] = max + std::log(sum);
  });
}

// With p = exp(score - lse) and delta = d_o · o (which is the sum of p dp):  dp = d_o · v,  ds = scale p (dp - delta),
// dq = sum of ds k,  dk += ds q,  dv += p d_o.
template <class T>
void attention_backward(T* dq, Write write, const T* d_o, const T* o, const T* lse, const T* q,
                        std::span<const Row> rows, const std::vector<AttentionKeys<T>>& spans, AttentionExtents e,
                        const Queue& queue) {
  const Products products = queue.products();
  const T scale = 1 / std::sqrt(static_cast<T>(e.head_dim));
  std::vector<Seen<T>> seen;
  for_queries(queue, rows, e, [&](int64_t at, const Row& query, int64_t kv_matrix) {
    const T *x = q + at * e.head_dim, *dy = d_o + at * e.head_dim, *y = o + at * e.head_dim;
    T* const dx = dq ? dq + at * e.head_dim : nullptr;
    if (dx && write == Write::Overwrite) std::fill_n(dx, e.head_dim, T(0));
    see(seen, x, query, spans, kv_matrix, e.head_dim, products);
    const T delta = dot(dy, y, e.head_dim, Products::F32);
    for (const Seen<T>& key : seen) {
      const T p = std::exp(key.weight - lse[at]);
      const T ds = scale * p * (dot(dy, key.v, e.head_dim, products) - delta);
      if (dx) add(dx, ds, key.k, e.head_dim, products);
      if (key.dk) add(key.dk, ds, x, e.head_dim, products);
      if (key.dv) add(key.dv, p, dy, e.head_dim, products);
    }
  });
}

template void attention_forward(float*, float*, Write, const float*, std::span<const Row>,
                                const std::vector<AttentionKeys<float>>&, AttentionExtents, const Queue&);
template void attention_forward(double*, double*, Write, const double*, std::span<const Row>,
                                const std::vector<AttentionKeys<double>>&, AttentionExtents, const Queue&);
template void attention_backward(float*, Write, const float*, const float*, const float*, const float*,
                                 std::span<const Row>, const std::vector<AttentionKeys<float>>&, AttentionExtents,
                                 const Queue&);
template void attention_backward(double*, Write, const double*, const double*, const double*, const double*,
                                 std::span<const Row>, const std::vector<AttentionKeys<double>>&, AttentionExtents,
                                 const Queue&);

}  // namespace memring::reference
