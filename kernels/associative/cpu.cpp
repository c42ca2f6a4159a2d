// Associative memory: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/associative/loops.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"

namespace memring::cpu {
namespace {

constexpr float kEps = static_cast<float>(Associative::kEps);

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

void copy(const Queue& queue, float* y, const float* x, int64_t count) {
  parallel_flat(queue, count, [&](int64_t begin, int64_t end) { std::copy(x + begin, x + end, y + begin); });
}

/// The fast path's state and rows, with the products and row loops that forward and backward share.
struct Fast {
  const Queue& queue;
  AssociativeExtents e;
  AssociativeState<const float> state;
  const AssociativeLoops& loops;

  Fast(const Queue& q, AssociativeExtents extent, AssociativeState<const float> s)
      : queue(q), e(extent), state(s), loops(MEMRING_LOOPS(q, associative_loops)) {}

  template <class Body>
  void for_rows(int64_t width, const Body& body) const {
    parallel_for(threads_for(queue, e.rows * width), e.rows, body);
  }
  /// y [rows, dim] = (+=) x [rows, keys] A
  void through(float* y, Write write, const float* x, const float* A) const {
    row_product(queue, Transpose::No, e.rows, e.dim, e.keys, x, A, e.dim, write, y);
  }
  /// y [rows, keys] = (+=) x [rows, dim] Aᵀ
  void back_through(float* y, Write write, const float* x, const float* A) const {
    row_product(queue, Transpose::Yes, e.rows, e.keys, e.dim, x, A, e.dim, write, y);
  }
  float denominator(const float* k) const { return (state.z ? loops.dot(k, state.z, e.keys) : 0) + kEps; }
  static float gamma(float square, float den) { return std::clamp(1 - den / (square + kEps), 0.0f, 1.0f); }
};

}  // namespace

void associative_read(const Queue& queue, float* y, float* phi, AssociativeState<const float> state,
                      AssociativeSmallest smallest, AssociativeExtents e) {
  const Fast fast(queue, e, state);
  std::vector<float> least(static_cast<size_t>(std::max(queue.threads(), 1)), std::numeric_limits<float>::infinity());
  parallel_ranges(threads_for(queue, e.rows * e.keys), e.rows, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; ++r) {
      float *const row = phi + r * e.keys, den = fast.denominator(row);
      least[static_cast<size_t>(thread)] = std::min(least[static_cast<size_t>(thread)], den);
      fast.loops.scale(row, 1 / den, e.keys);
    }
  });
  if (state.z)
    for (const float den : least) *smallest.denominator = std::min(*smallest.denominator, double{den});
  if (state.A) fast.through(y, Write::Accumulate, phi, state.A);
}

void associative_read_backward(Queue& queue, float* d_phi, View<> dA, View<> dz, const float* dy, float* phi,
                               AssociativeState<const float> state, float* scratch, AssociativeExtents e) {
  const Fast fast(queue, e, state);
  if (!state.A) return std::fill_n(d_phi, e.rows * e.keys, 0.0f), void();
  float *const inv_den = scratch, *const along = scratch + e.rows;
  fast.for_rows(e.keys, [&](int64_t r) {
    float* const row = phi + r * e.keys;
    inv_den[r] = 1 / fast.denominator(row);
    fast.loops.scale(row, inv_den[r], e.keys);
  });
  fast.back_through(d_phi, Write::Overwrite, dy, state.A);
  fast.for_rows(e.keys, [&](int64_t r) {
    float* const row = d_phi + r * e.keys;
    along[r] = fast.loops.dot(row, phi + r * e.keys, e.keys);
    fast.loops.subtract_and_scale(row, along[r], state.z, inv_den[r], e.keys);
  });
  if (!dA) return;
  sum_row_products(queue, e.keys, e.dim, e.rows, phi, dy, Write::Accumulate, dA);
  // Threads share the keys, so that rows are summed in their order whatever the number of threads.
  constexpr int64_t kBlock = 64;
  add_rows<float>(queue, dz, e.rows, 0, [&](float* to, int64_t first_row, int64_t rows) {
    parallel_ranges(threads_for(queue, rows * e.keys), (e.keys + kBlock - 1) / kBlock,
                    [&](int64_t first, int64_t last, int) {
                      const int64_t begin = first * kBlock, count = std::min(last * kBlock, e.keys) - begin;
                      for (int64_t r = first_row; r < first_row + rows; ++r)
                        fast.loops.add_scaled(to + begin, -along[r], phi + r * e.keys + begin, count);
                    });
  });
}

void associative_write(Queue& queue, AssociativeState<float> new_state, AssociativeRows<const float> rows,
                       AssociativeState<const float> state, float* delta, AssociativeSmallest smallest,
                       AssociativeExtents e) {
  const Fast fast(queue, e, state);
  const Write write = state.A ? Write::Accumulate : Write::Overwrite;
  if (state.A) {
    fast.through(delta, Write::Overwrite, rows.k, state.A);
    copy(queue, new_state.A, state.A, e.keys * e.dim);
    std::copy_n(state.z, e.keys, new_state.z);
  } else {
    std::fill_n(delta, e.rows * e.dim, 0.0f);
    std::fill_n(new_state.z, e.keys, 0.0f);
  }
  fast.for_rows(e.dim, [&](int64_t r) {
    fast.loops.weigh(delta + r * e.dim, rows.v + r * e.dim, 1 / fast.denominator(rows.k + r * e.keys),
                     sigmoid(rows.gate[r]), e.dim);
  });
  sum_row_products(queue, e.keys, e.dim, e.rows, rows.k, delta, write, View<float>(new_state.A, {e.keys, e.dim}));
  for (int64_t r = 0; r < e.rows; ++r) {
    const float* const key = rows.k + r * e.keys;
    const float den = fast.denominator(key), square = fast.loops.dot(key, key, e.keys);
    *smallest.key = std::min(*smallest.key, double{square});
    if (state.z) *smallest.denominator = std::min(*smallest.denominator, double{den});
    fast.loops.add_scaled(new_state.z, Fast::gamma(square, den), key, e.keys);
  }
}

void associative_write_backward(Queue& queue, AssociativeRows<float> d, AssociativeState<float> d_state,
                                AssociativeState<const float> d_new, AssociativeRows<const float> rows,
                                AssociativeState<const float> state, float* old, float* d_den, AssociativeExtents e) {
  const Fast fast(queue, e, state);
  // ref.cpp says what is what; `old` turns from k A into beta w, and then into d_num.
  if (state.A)
    fast.through(old, Write::Overwrite, rows.k, state.A);
  else
    std::fill_n(old, e.rows * e.dim, 0.0f);
  fast.through(d.v, Write::Overwrite, rows.k, d_new.A);
  fast.for_rows(e.dim, [&](int64_t r) {
    float *const num = old + r * e.dim, *const dv = d.v + r * e.dim;
    const float inv_den = 1 / fast.denominator(rows.k + r * e.keys), beta = sigmoid(rows.gate[r]);
    d_den[r] = beta * fast.loops.dot(dv, num, e.dim) * inv_den * inv_den;
    fast.loops.weigh(num, rows.v + r * e.dim, inv_den, 1, e.dim);
    d.gate[r] = fast.loops.dot(dv, num, e.dim) * beta * (1 - beta);
    fast.loops.scale(num, beta, e.dim);
    fast.loops.scale(dv, beta, e.dim);
  });
  fast.back_through(d.k, Write::Overwrite, old, d_new.A);
  fast.for_rows(e.dim, [&](int64_t r) {
    const float* const key = rows.k + r * e.keys;
    float *const d_num = old + r * e.dim, *const dk = d.k + r * e.keys;
    const float den = fast.denominator(key), gamma = Fast::gamma(fast.loops.dot(key, key, e.keys), den);
    std::copy_n(d.v + r * e.dim, e.dim, d_num);
    fast.loops.scale(d_num, -1 / den, e.dim);
    fast.loops.add_scaled(dk, gamma, d_new.z, e.keys);
    if (state.z) fast.loops.add_scaled(dk, d_den[r], state.z, e.keys);
  });
  if (state.A) fast.back_through(d.k, Write::Accumulate, old, state.A);
  if (!d_state.A) return;
  copy(queue, d_state.A, d_new.A, e.keys * e.dim);
  sum_row_products(queue, e.keys, e.dim, e.rows, rows.k, old, Write::Accumulate,
                   View<float>(d_state.A, {e.keys, e.dim}));
  std::copy_n(d_new.z, e.keys, d_state.z);
  for (int64_t r = 0; r < e.rows; ++r) fast.loops.add_scaled(d_state.z, d_den[r], rows.k + r * e.keys, e.keys);
}

}  // namespace memring::cpu
