// Associative memory on a device: products, and between them a block for each row. ref.cpp says what is what.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/cuda.h"

#include <lane.h>
#include <launch.h>

#include <algorithm>

#include "kernels/associative/scratch.h"
#include "kernels/cuda/convert.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

constexpr int kThreads = 128;   ///< of a row, at the most
constexpr int kRowGroups = 32;  ///< warps of a block that sums columns: rows r, r + 32, ... are one warp's

/// Room for each sum over the row that a kernel makes.
template <class C>
struct RowMemory {
  C of_warp[4][kThreads / kWarp];
};

template <class C>
MEMRING_LANE C sigmoid(C x) {
  return 1 / (1 + exp_of(-x));
}

/// x · y over the block's row.
template <class X, class Y, class C>
MEMRING_LANE C dot(const X* x, const Y* y, int64_t count, C* of_warp, Place place = Place::current()) {
  C sum = 0;
  for (int64_t i = thread_index(); i < count; i += block_threads()) sum += computed(x[i]) * computed(y[i]);
  return block_sum(sum, of_warp, place);
}

/// k · z + eps; z may be null: zero.
template <class T, class C>
MEMRING_LANE C denominator(const T* k, const C* z, int64_t keys, C* of_warp, Place place = Place::current()) {
  return (z ? dot(k, z, keys, of_warp, place) : C(0)) + static_cast<C>(Associative::kEps);
}

/// Of a key whose |k|² this is.
template <class C>
MEMRING_LANE C gamma_of(C square, C den) {
  const C gamma = 1 - den / (square + static_cast<C>(Associative::kEps));
  return gamma < 0 ? 0 : gamma > 1 ? 1 : gamma;
}

/// phi becomes phi / den; inv_den and smallest may be null: not wanted.
template <class T, class C>
MEMRING_KERNEL void associative_normalise(T* phi, C* inv_den, double* smallest, const C* z, int64_t keys) {
  T* const p = phi + block_x() * keys;
  const C den = denominator(p, z, keys, block_memory<RowMemory<C>>().of_warp[0]), inverse = 1 / den;
  for (int64_t i = thread_index(); i < keys; i += block_threads()) store(p[i], computed(p[i]) * inverse);
  if (thread_index() != 0) return;
  if (inv_den) inv_den[block_x()] = inverse;
  if (smallest && z) lower(*smallest, static_cast<double>(den));
}

/// From dp = A dy: d_phi = (dp - (dp · p) z) / den, and -(dp · p), which p weighs in dz. d_phi may be dp.
template <class T, class C>
MEMRING_KERNEL void associative_d_phi(T* d_phi, C* minus_along, const C* dp, const T* p, const C* z, const C* inv_den,
                                      int64_t keys) {
  const int64_t row = block_x(), begin = row * keys;
  const C along = dot(dp + begin, p + begin, keys, block_memory<RowMemory<C>>().of_warp[0]);
  for (int64_t i = thread_index(); i < keys; i += block_threads())
    store(d_phi[begin + i], (dp[begin + i] - along * z[i]) * inv_den[row]);
  if (thread_index() == 0) minus_along[row] = -along;
}

/// delta = beta (v - old / den) and gamma; `old` may be delta, or null: zero.
template <class T, class C>
MEMRING_KERNEL void associative_delta(T* delta, C* gamma, double* smallest, const C* old, const T* keys_of, const T* v,
                                      const T* gate, const C* z, int64_t keys, int64_t dim) {
  auto& memory = block_memory<RowMemory<C>>();
  const int64_t row = block_x();
  const T* const k = keys_of + row * keys;
  const C den = denominator(k, z, keys, memory.of_warp[0]), square = dot(k, k, keys, memory.of_warp[1]),
          inverse = 1 / den, beta = sigmoid(computed(gate[row]));
  for (int64_t i = row * dim + thread_index(); i < (row + 1) * dim; i += block_threads())
    store(delta[i], beta * (computed(v[i]) - (old ? old[i] * inverse : 0)));
  if (thread_index() != 0) return;
  gamma[row] = gamma_of(square, den);
  lower(smallest[0], static_cast<double>(square));
  if (z) lower(smallest[1], static_cast<double>(den));
}

/// From kG: dv = beta kG, the gate's gradient, beta w with w = v - old / den, and d_den. dv may be kG, `weighted` may
/// be `old`; `old` may be null: zero.
template <class T, class C>
MEMRING_KERNEL void associative_d_values(T* weighted, T* dv, T* d_gate, C* d_den, const C* kG, const C* old,
                                         const T* keys_of, const T* v, const T* gate, const C* z, int64_t keys,
                                         int64_t dim) {
  auto& memory = block_memory<RowMemory<C>>();
  const int64_t row = block_x();
  const C inverse = 1 / denominator(keys_of + row * keys, z, keys, memory.of_warp[0]),
          beta = sigmoid(computed(gate[row]));
  C d_beta = 0, along = 0;
  for (int64_t i = row * dim + thread_index(); i < (row + 1) * dim; i += block_threads()) {
    const C value = old ? old[i] * inverse : 0, w = computed(v[i]) - value, d = kG[i];
    d_beta += d * w;
    along += d * value;
    store(dv[i], beta * d);
    store(weighted[i], beta * w);
  }
  d_beta = block_sum(d_beta, memory.of_warp[1]);
  along = block_sum(along, memory.of_warp[2]);
  if (thread_index() != 0) return;
  store(d_gate[row], d_beta * beta * (1 - beta));
  d_den[row] = beta * along * inverse;
}

/// d_num = -dv / den
template <class T, class C>
MEMRING_KERNEL void associative_d_numerator(T* d_num, const T* dv, const T* keys_of, const C* z, int64_t keys,
                                            int64_t dim) {
  const int64_t row = block_x();
  const C inverse = 1 / denominator(keys_of + row * keys, z, keys, block_memory<RowMemory<C>>().of_warp[0]);
  for (int64_t i = row * dim + thread_index(); i < (row + 1) * dim; i += block_threads())
    store(d_num[i], -computed(dv[i]) * inverse);
}

/// dk = `products` + gamma g + d_den z, with g the gradient of the new z. dk may be the products.
template <class T, class C>
MEMRING_KERNEL void associative_d_keys(T* dk, const C* products, const T* keys_of, const C* g, const C* z,
                                       const C* d_den, int64_t keys) {
  auto& memory = block_memory<RowMemory<C>>();
  const int64_t row = block_x(), begin = row * keys;
  const T* const k = keys_of + begin;
  const C den = denominator(k, z, keys, memory.of_warp[0]), gamma = gamma_of(dot(k, k, keys, memory.of_warp[1]), den);
  for (int64_t i = thread_index(); i < keys; i += block_threads())
    store(dk[begin + i], products[begin + i] + gamma * g[i] + (z ? d_den[row] * z[i] : 0));
}

template <class C>
struct ColumnSums {
  C of[kRowGroups][kWarp + 1];
};

/// sum[i] = start[i] + the rows' weights[r] x[r][i]; start may be `sum`, or null: zero. A block for each 32 columns.
template <class T, class C>
MEMRING_KERNEL void add_weighted_rows(C* sum, const C* start, const C* weights, const T* x, int64_t rows,
                                      int64_t columns) {
  auto& sums = block_memory<ColumnSums<C>>();
  const int64_t column = block_x() * kWarp + lane_index();
  C mine = 0;
  for (int64_t r = warp_index(); r < rows && column < columns; r += kRowGroups)
    mine += weights[r] * computed(x[r * columns + column]);
  sums.of[warp_index()][lane_index()] = mine;
  meet_block();
  if (warp_index() != 0 || column >= columns) return;
  C total = start ? start[column] : 0;
  for (int group = 0; group < kRowGroups; ++group) total += sums.of[group][lane_index()];
  sum[column] = total;
}

/// The calls, with rows stored as T.
template <class T>
struct Memory {
  using C = Computed<T>;
  Queue& queue;
  int64_t rows, keys, dim;

  template <auto Kernel, class... A>
  void on_rows(int64_t width, A... arguments) const {
    if (rows > 0)
      launch<Kernel>(queue, {rows, 1, grid_for(width, kThreads).threads, sizeof(RowMemory<C>)}, arguments...);
  }
  void weigh_rows(View<> sum, ConstView<> start, View<> weights, ConstView<> x) const {
    launch<add_weighted_rows<T, C>>(queue, {(keys + kWarp - 1) / kWarp, 1, kRowGroups * kWarp, sizeof(ColumnSums<C>)},
                                    address<C>(sum), address<C>(start), address<C>(ConstView<>(weights)), address<T>(x),
                                    rows, keys);
  }
  /// A state as a factor of products, rounded into `room` where there is one.
  ConstView<> factor(ConstView<> state, View<> room) const {
    if (!room) return state;
    convert(queue, room, state);
    return room;
  }
  /// to = from, or zeros of an empty one.
  void start(View<> to, ConstView<> from) const {
    if (from)
      queue.device()->copy(queue.stream(), to, from);
    else
      queue.device()->fill(queue.stream(), to, 0);
  }

  void read(View<> y, View<> phi, ConstView<> A, ConstView<> z, View<double> smallest,
            const AssociativeScratch& s) const {
    on_rows<associative_normalise<T, C>>(keys, address<T>(phi), static_cast<C*>(nullptr), smallest.data() + 1,
                                         address<C>(z), keys);
    if (A) matrix_product(queue, y, Write::Accumulate, {phi}, {factor(A, s.A)});
  }

  void read_backward(View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi, ConstView<> A, ConstView<> z,
                     const AssociativeScratch& s) const {
    if (!A) return start(d_phi, {});
    C *const inv_den = address<C>(s.per_row.at(0)), *const minus_along = address<C>(s.per_row.at(1));
    const View<> dp = s.by_key ? s.by_key : d_phi;
    on_rows<associative_normalise<T, C>>(keys, address<T>(phi), inv_den, static_cast<double*>(nullptr), address<C>(z),
                                         keys);
    matrix_product(queue, dp, Write::Overwrite, {dy}, transposed(factor(A, s.A)));
    on_rows<associative_d_phi<T, C>>(keys, address<T>(d_phi), minus_along, address<C>(ConstView<>(dp)),
                                     address<T>(ConstView<>(phi)), address<C>(z), static_cast<const C*>(inv_den), keys);
    if (!dA) return;
    matrix_product(queue, dA, Write::Accumulate, transposed(phi), {dy});
    weigh_rows(dz, dz, s.per_row.at(1), phi);
  }

  void write(View<> new_A, View<> new_z, const Associative::Rows& r, ConstView<> A, ConstView<> z,
             View<double> smallest, const AssociativeScratch& s) const {
    const View<> delta = s.factor ? s.factor : s.old;
    if (A) matrix_product(queue, s.old, Write::Overwrite, {r.k}, {factor(A, s.A)});
    on_rows<associative_delta<T, C>>(std::max(keys, dim), address<T>(delta), address<C>(s.per_row), smallest.data(),
                                     A ? address<C>(ConstView<>(s.old)) : nullptr, address<T>(r.k), address<T>(r.v),
                                     address<T>(r.gate), address<C>(z), keys, dim);
    start(new_A, A);
    matrix_product(queue, new_A, Write::Accumulate, transposed(r.k), {delta});
    weigh_rows(new_z, z, s.per_row, r.k);
  }

  void write_backward(const Associative::RowGradients& d, View<> dA, View<> dz, ConstView<> d_new_A,
                      ConstView<> d_new_z, const Associative::Rows& r, ConstView<> A, ConstView<> z,
                      const AssociativeScratch& s) const {
    const View<> weighted = s.factor ? s.factor : s.old, d_num = weighted;  // in turn
    const View<> kG = s.by_dim ? s.by_dim : d.v, dk = s.by_key ? s.by_key : d.k;
    const ConstView<> of_A = A ? factor(A, s.A) : A, of_G = factor(d_new_A, s.G);
    if (A) matrix_product(queue, s.old, Write::Overwrite, {r.k}, {of_A});
    matrix_product(queue, kG, Write::Overwrite, {r.k}, {of_G});
    on_rows<associative_d_values<T, C>>(std::max(keys, dim), address<T>(weighted), address<T>(d.v), address<T>(d.gate),
                                        address<C>(s.per_row), address<C>(ConstView<>(kG)),
                                        A ? address<C>(ConstView<>(s.old)) : nullptr, address<T>(r.k), address<T>(r.v),
                                        address<T>(r.gate), address<C>(z), keys, dim);
    matrix_product(queue, dk, Write::Overwrite, {weighted}, transposed(of_G));
    on_rows<associative_d_numerator<T, C>>(std::max(keys, dim), address<T>(d_num), address<T>(ConstView<>(d.v)),
                                           address<T>(r.k), address<C>(z), keys, dim);
    if (A) matrix_product(queue, dk, Write::Accumulate, {d_num}, transposed(of_A));
    on_rows<associative_d_keys<T, C>>(keys, address<T>(d.k), address<C>(ConstView<>(dk)), address<T>(r.k),
                                      address<C>(d_new_z), address<C>(z), address<C>(ConstView<>(s.per_row)), keys);
    if (!dA) return;
    start(dA, d_new_A);
    matrix_product(queue, dA, Write::Accumulate, transposed(r.k), {d_num});
    weigh_rows(dz, d_new_z, s.per_row, r.k);
  }
};

template <class F>
void on_memory(Queue& queue, ConstView<> keys, ConstView<> vectors, const F& f) {
  by_stored_type(keys.dtype(), [&]<class T>() { f(Memory<T>{queue, keys.dim(0), keys.dim(1), vectors.dim(1)}); });
}

AssociativeExtents extents_of(const Queue& queue, ConstView<> keys, ConstView<> vectors) {
  return {keys.dim(0), keys.dim(1), vectors.dim(1), queue.products()};
}

void read(Queue& queue, View<> y, View<> phi, ConstView<> A, ConstView<> z, View<double> smallest, Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto s = AssociativeScratch::read(scratch, phi.dtype(), extents_of(queue, phi, y));
  on_memory(queue, phi, y, [&](const auto& memory) { memory.read(y, phi, A, z, smallest, s); });
}

void read_backward(Queue& queue, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi, ConstView<> A,
                   ConstView<> z, Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto s = AssociativeScratch::read_backward(scratch, phi.dtype(), extents_of(queue, phi, dy));
  on_memory(queue, phi, dy, [&](const auto& memory) { memory.read_backward(d_phi, dA, dz, dy, phi, A, z, s); });
}

void write(Queue& queue, View<> new_A, View<> new_z, const Associative::Rows& rows, ConstView<> A, ConstView<> z,
           View<double> smallest, Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto s = AssociativeScratch::write(scratch, rows.k.dtype(), extents_of(queue, rows.k, rows.v));
  on_memory(queue, rows.k, rows.v, [&](const auto& memory) { memory.write(new_A, new_z, rows, A, z, smallest, s); });
}

void write_backward(Queue& queue, const Associative::RowGradients& d, View<> dA, View<> dz, ConstView<> d_new_A,
                    ConstView<> d_new_z, const Associative::Rows& rows, ConstView<> A, ConstView<> z, Arena& scratch) {
  const ArenaScope scope(scratch);
  const auto s = AssociativeScratch::write_backward(scratch, rows.k.dtype(), extents_of(queue, rows.k, rows.v));
  on_memory(queue, rows.k, rows.v,
            [&](const auto& memory) { memory.write_backward(d, dA, dz, d_new_A, d_new_z, rows, A, z, s); });
}

const AssociativeKernels kernels{read, read_backward, write, write_backward};

}  // namespace

const AssociativeKernels* const associative_cuda = &kernels;

}  // namespace memring
