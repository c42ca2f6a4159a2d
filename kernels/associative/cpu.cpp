// Associative memory: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/profile.h"
#include "kernels/associative/associative.h"
#include "kernels/associative/loops.h"
#include "kernels/associative/ref.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"

namespace memring {
namespace {

using reference::MemoryExtent;
using reference::MemoryRows;
using reference::MemoryState;

constexpr float kEps = static_cast<float>(Associative::kEps);

/// Flops of `products` products of [rows, keys] and [keys, dim].
double flops(const MemoryExtent& e, int products) {
  return 2.0 * products * static_cast<double>(e.rows) * static_cast<double>(e.keys * e.dim);
}

/// Checks that A [keys, dim] and z [keys] are there, or both are not.
void expect_state(ConstView<> A, ConstView<> z, DType dtype, const MemoryExtent& e, const char* what) {
  if (!A && !z) return;
  expect(A, dtype, {e.keys, e.dim}, what);
  expect(z, dtype, {e.keys}, what);
}

/// Checks keys [rows, keys] and vectors [rows, dim].
MemoryExtent extent_of(const Queue& queue, ConstView<> keys, ConstView<> vectors, const char* what) {
  const DType dtype = expect_float(keys, 2, what);
  expect_float(vectors, 2, what);
  const MemoryExtent e{keys.dim(0), keys.dim(1), vectors.dim(1), queue.products()};
  expect(vectors, dtype, {e.rows, e.dim}, what);
  return e;
}

MemoryExtent extent_of(const Queue& queue, const Associative::Rows& rows) {
  const MemoryExtent e = extent_of(queue, rows.k, rows.v, "Associative k, v");
  expect(rows.gate, rows.k.dtype(), {e.rows}, "Associative gate");
  return e;
}

template <class T>
MemoryState<T> state_of(View<> A, View<> z) {
  return {A ? A.as<T>() : nullptr, z ? z.as<T>() : nullptr};
}
template <class T>
MemoryState<const T> state_of(ConstView<> A, ConstView<> z) {
  return {A ? A.as<T>() : nullptr, z ? z.as<T>() : nullptr};
}
template <class T>
MemoryRows<const T> rows_of(const Associative::Rows& rows) {
  return {rows.k.as<T>(), rows.v.as<T>(), rows.gate.as<T>()};
}

/// The reference, whose terms go to exact sums block by block.
template <class T>
void reference_read_backward(Queue& queue, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi,
                             ConstView<> A, ConstView<> z, const MemoryExtent& e) {
  const bool exact = dA.dtype() == DType::Exact;
  std::vector<T> terms(exact ? static_cast<size_t>(e.keys * (e.dim + 1)) : 0);
  const MemoryState<T> sums = exact ? MemoryState<T>{terms.data(), terms.data() + e.keys * e.dim} : state_of<T>(dA, dz);
  for_row_blocks(queue, e.rows, 0, [&](int64_t begin, int64_t count) {
    std::fill(terms.begin(), terms.end(), T(0));
    MemoryExtent part = e;
    part.rows = count;
    reference::memory_read_backward(d_phi.as<T>() + begin * e.keys, sums, dy.as<T>() + begin * e.dim,
                                    phi.as<T>() + begin * e.keys, state_of<T>(A, z), part);
    if (!exact) return;
    ExactSum::add(queue, dA, View<T>(sums.A, dA.shape()));
    ExactSum::add(queue, dz, View<T>(sums.z, dz.shape()));
  });
}

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

void copy(const Queue& queue, float* y, const float* x, int64_t count) {
  parallel_flat(queue, count, [&](int64_t begin, int64_t end) { std::copy(x + begin, x + end, y + begin); });
}

/// The fast path's state and rows, with the products and row loops that forward and backward share.
struct Fast {
  Queue& queue;
  MemoryExtent e;
  MemoryState<const float> state;
  const AssociativeLoops& loops;

  Fast(Queue& q, MemoryExtent extent, MemoryState<const float> s)
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
  /// A = (+=) kᵀ v
  void outer_products(View<> A, Write write, const float* k, const float* v) const {
    sum_row_products(queue, e.keys, e.dim, e.rows, k, v, write, A);
  }
  float denominator(const float* k) const { return (state.z ? loops.dot(k, state.z, e.keys) : 0) + kEps; }
  static float gamma(float square, float den) { return std::clamp(1 - den / (square + kEps), 0.0f, 1.0f); }
};

}  // namespace

void Associative::read(Queue& queue, View<> y, View<> phi, ConstView<> A, ConstView<> z, Smallest& smallest) {
  const MemoryExtent e = extent_of(queue, phi, y, "Associative phi, y");
  expect_state(A, z, y.dtype(), e, "Associative state");
  const Timed timed(queue, "Associative read", flops(e, A ? 1 : 0), y, phi, A, z);
  if (queue.reference(y.dtype()))
    return by_float_type(
        y.dtype(), [&]<class T>() { reference::memory_read(y.as<T>(), phi.as<T>(), state_of<T>(A, z), smallest, e); });
  const Fast fast(queue, e, state_of<float>(A, z));
  float* const p = phi.as<float>();
  std::vector<float> least(static_cast<size_t>(std::max(queue.threads(), 1)), std::numeric_limits<float>::infinity());
  parallel_ranges(threads_for(queue, e.rows * e.keys), e.rows, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; ++r) {
      float *const row = p + r * e.keys, den = fast.denominator(row);
      least[static_cast<size_t>(thread)] = std::min(least[static_cast<size_t>(thread)], den);
      fast.loops.scale(row, 1 / den, e.keys);
    }
  });
  if (fast.state.z)
    for (const float den : least) smallest.denominator = std::min(smallest.denominator, double{den});
  if (fast.state.A) fast.through(y.as<float>(), Write::Accumulate, p, fast.state.A);
}

int64_t Associative::read_backward_scratch_bytes(DType dtype, int64_t rows) {
  Arena arena;
  arena.take(dtype, {2, rows});
  return arena.peak();
}

void Associative::read_backward(Queue& queue, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi,
                                ConstView<> A, ConstView<> z, Arena& scratch) {
  const DType dtype = dy.dtype();
  const MemoryExtent e = extent_of(queue, phi, dy, "Associative phi, dy");
  expect(d_phi, dtype, {e.rows, e.keys}, "Associative d_phi");
  expect_state(A, z, dtype, e, "Associative state");
  expect_state(dA, dz, dA.dtype() == DType::Exact ? DType::Exact : dtype, e, "Associative dA, dz");
  const Timed timed(queue, "Associative read backward", flops(e, (A ? 1 : 0) + (A && dA ? 1 : 0)), d_phi, dA, dz, dy,
                    phi, A, z);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() { reference_read_backward<T>(queue, d_phi, dA, dz, dy, phi, A, z, e); });
  const Fast fast(queue, e, state_of<float>(A, z));
  float *const p = phi.as<float>(), *const d = d_phi.as<float>();
  if (!fast.state.A) return std::fill_n(d, e.rows * e.keys, 0.0f), void();
  const ArenaScope scope(scratch);
  float* const inv_den = scratch.take<float>({2, e.rows}).data();
  float* const along = inv_den + e.rows;
  fast.for_rows(e.keys, [&](int64_t r) {
    float* const row = p + r * e.keys;
    inv_den[r] = 1 / fast.denominator(row);
    fast.loops.scale(row, inv_den[r], e.keys);
  });
  fast.back_through(d, Write::Overwrite, dy.as<float>(), fast.state.A);
  fast.for_rows(e.keys, [&](int64_t r) {
    float* const row = d + r * e.keys;
    along[r] = fast.loops.dot(row, p + r * e.keys, e.keys);
    fast.loops.subtract_and_scale(row, along[r], fast.state.z, inv_den[r], e.keys);
  });
  if (!dA) return;
  fast.outer_products(dA, Write::Accumulate, p, dy.as<float>());
  // Threads share the keys, so that rows are summed in their order whatever the number of threads.
  constexpr int64_t kBlock = 64;
  add_rows<float>(queue, dz, e.rows, 0, [&](float* to, int64_t first_row, int64_t rows) {
    parallel_ranges(threads_for(queue, rows * e.keys), (e.keys + kBlock - 1) / kBlock,
                    [&](int64_t first, int64_t last, int) {
                      const int64_t begin = first * kBlock, count = std::min(last * kBlock, e.keys) - begin;
                      for (int64_t r = first_row; r < first_row + rows; ++r)
                        fast.loops.add_scaled(to + begin, -along[r], p + r * e.keys + begin, count);
                    });
  });
}

int64_t Associative::write_scratch_bytes(DType dtype, int64_t rows, int64_t dim) {
  Arena arena;
  arena.take(dtype, {rows, dim});
  return arena.peak();
}

void Associative::write(Queue& queue, View<> new_A, View<> new_z, const Rows& rows, ConstView<> A, ConstView<> z,
                        Smallest& smallest, Arena& scratch) {
  const DType dtype = rows.k.dtype();
  const MemoryExtent e = extent_of(queue, rows);
  expect(new_A, dtype, {e.keys, e.dim}, "Associative new A");
  expect(new_z, dtype, {e.keys}, "Associative new z");
  expect_state(A, z, dtype, e, "Associative state");
  const Timed timed(queue, "Associative write", flops(e, A ? 2 : 1), new_A, new_z, rows.k, rows.v, A, z);
  const ArenaScope scope(scratch);
  const View<> delta_view = scratch.take(dtype, {e.rows, e.dim});
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::memory_write(state_of<T>(new_A, new_z), rows_of<T>(rows), state_of<T>(A, z), delta_view.as<T>(),
                              smallest, e);
    });
  const Fast fast(queue, e, state_of<float>(A, z));
  const auto [k, v, gate] = rows_of<float>(rows);
  const auto [to_A, to_z] = state_of<float>(new_A, new_z);
  float* const delta = delta_view.as<float>();
  const Write write = fast.state.A ? Write::Accumulate : Write::Overwrite;
  if (fast.state.A) {
    fast.through(delta, Write::Overwrite, k, fast.state.A);
    copy(queue, to_A, fast.state.A, e.keys * e.dim);
    std::copy_n(fast.state.z, e.keys, to_z);
  } else {
    std::fill_n(delta, e.rows * e.dim, 0.0f);
    std::fill_n(to_z, e.keys, 0.0f);
  }
  fast.for_rows(e.dim, [&, k = k, v = v, gate = gate](int64_t r) {
    fast.loops.weigh(delta + r * e.dim, v + r * e.dim, 1 / fast.denominator(k + r * e.keys), sigmoid(gate[r]), e.dim);
  });
  fast.outer_products(new_A, write, k, delta);
  for (int64_t r = 0; r < e.rows; ++r) {
    const float* const key = k + r * e.keys;
    const float den = fast.denominator(key), square = fast.loops.dot(key, key, e.keys);
    smallest.key = std::min(smallest.key, double{square});
    if (fast.state.z) smallest.denominator = std::min(smallest.denominator, double{den});
    fast.loops.add_scaled(to_z, Fast::gamma(square, den), key, e.keys);
  }
}

int64_t Associative::write_backward_scratch_bytes(DType dtype, int64_t rows, int64_t dim) {
  Arena arena;
  arena.take(dtype, {rows, dim});
  arena.take(dtype, {rows});
  return arena.peak();
}

void Associative::write_backward(Queue& queue, const RowGradients& d, View<> dA, View<> dz, ConstView<> d_new_A,
                                 ConstView<> d_new_z, const Rows& rows, ConstView<> A, ConstView<> z, Arena& scratch) {
  const DType dtype = rows.k.dtype();
  const MemoryExtent e = extent_of(queue, rows);
  expect(d.k, dtype, {e.rows, e.keys}, "Associative dk");
  expect(d.v, dtype, {e.rows, e.dim}, "Associative dv");
  expect(d.gate, dtype, {e.rows}, "Associative d_gate");
  expect(d_new_A, dtype, {e.keys, e.dim}, "Associative new dA");
  expect(d_new_z, dtype, {e.keys}, "Associative new dz");
  expect_state(A, z, dtype, e, "Associative state");
  expect_state(dA, dz, dtype, e, "Associative dA, dz");
  const Timed timed(queue, "Associative write backward", flops(e, 2 + (A ? 2 : 0) + (dA ? 1 : 0)), d.k, d.v, dA, dz,
                    d_new_A, d_new_z, rows.k, rows.v, A, z);
  const ArenaScope scope(scratch);
  const View<> old_view = scratch.take(dtype, {e.rows, e.dim}), d_den_view = scratch.take(dtype, {e.rows});
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::memory_write_backward({d.k.as<T>(), d.v.as<T>(), d.gate.as<T>()}, state_of<T>(dA, dz),
                                       state_of<T>(d_new_A, d_new_z), rows_of<T>(rows), state_of<T>(A, z),
                                       old_view.as<T>(), d_den_view.as<T>(), e);
    });
  const Fast fast(queue, e, state_of<float>(A, z));
  const MemoryRows<const float> in = rows_of<float>(rows);
  const MemoryRows<float> out{d.k.as<float>(), d.v.as<float>(), d.gate.as<float>()};
  const MemoryState<const float> d_new = state_of<float>(d_new_A, d_new_z);
  float *const old = old_view.as<float>(), *const d_den = d_den_view.as<float>();

  // ref.cpp says what is what; `old` turns from k A into beta w, and then into d_num.
  if (fast.state.A)
    fast.through(old, Write::Overwrite, in.k, fast.state.A);
  else
    std::fill_n(old, e.rows * e.dim, 0.0f);
  fast.through(out.v, Write::Overwrite, in.k, d_new.A);
  fast.for_rows(e.dim, [&](int64_t r) {
    float *const num = old + r * e.dim, *const dv = out.v + r * e.dim;
    const float inv_den = 1 / fast.denominator(in.k + r * e.keys), beta = sigmoid(in.gate[r]);
    d_den[r] = beta * fast.loops.dot(dv, num, e.dim) * inv_den * inv_den;
    fast.loops.weigh(num, in.v + r * e.dim, inv_den, 1, e.dim);
    out.gate[r] = fast.loops.dot(dv, num, e.dim) * beta * (1 - beta);
    fast.loops.scale(num, beta, e.dim);
    fast.loops.scale(dv, beta, e.dim);
  });
  fast.back_through(out.k, Write::Overwrite, old, d_new.A);
  fast.for_rows(e.dim, [&](int64_t r) {
    const float* const key = in.k + r * e.keys;
    float *const d_num = old + r * e.dim, *const dk = out.k + r * e.keys;
    const float den = fast.denominator(key), gamma = Fast::gamma(fast.loops.dot(key, key, e.keys), den);
    std::copy_n(out.v + r * e.dim, e.dim, d_num);
    fast.loops.scale(d_num, -1 / den, e.dim);
    fast.loops.add_scaled(dk, gamma, d_new.z, e.keys);
    if (fast.state.z) fast.loops.add_scaled(dk, d_den[r], fast.state.z, e.keys);
  });
  if (fast.state.A) fast.back_through(out.k, Write::Accumulate, old, fast.state.A);
  if (!dA) return;
  copy(queue, dA.as<float>(), d_new.A, e.keys * e.dim);
  fast.outer_products(dA, Write::Accumulate, in.k, old);
  float* const to_z = dz.as<float>();
  std::copy_n(d_new.z, e.keys, to_z);
  for (int64_t r = 0; r < e.rows; ++r) fast.loops.add_scaled(to_z, d_den[r], in.k + r * e.keys, e.keys);
}

}  // namespace memring
