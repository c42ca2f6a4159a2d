// Associative memory: checks, scratch, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/associative.h"

#include <algorithm>
#include <vector>

#include "base/profile.h"
#include "kernels/associative/cpu.h"
#include "kernels/associative/cuda.h"
#include "kernels/associative/ref.h"
#include "kernels/associative/scratch.h"
#include "kernels/common/checks.h"
#include "kernels/common/row_products.h"
#include "kernels/common/wide.h"

namespace memring {
namespace {

/// Flops of `products` products of [rows, keys] and [keys, dim].
double flops(const AssociativeExtents& e, int products) {
  return 2.0 * products * static_cast<double>(e.rows) * static_cast<double>(e.keys * e.dim);
}

/// Checks that A [keys, dim] and z [keys] are there, or both are not.
void expect_state(ConstView<> A, ConstView<> z, DType dtype, const AssociativeExtents& e, const char* what) {
  if (!A && !z) return;
  expect(A, dtype, {e.keys, e.dim}, what);
  expect(z, dtype, {e.keys}, what);
}

/// Checks keys [rows, keys] and vectors [rows, dim].
AssociativeExtents extents_of(const Queue& queue, ConstView<> keys, ConstView<> vectors, const char* what) {
  const DType dtype = expect_stored(keys, 2, what);
  expect_stored(vectors, 2, what);
  const AssociativeExtents e{keys.dim(0), keys.dim(1), vectors.dim(1), queue.products()};
  expect(vectors, dtype, {e.rows, e.dim}, what);
  return e;
}

AssociativeExtents extents_of(const Queue& queue, const Associative::Rows& rows) {
  const AssociativeExtents e = extents_of(queue, rows.k, rows.v, "Associative k, v");
  expect(rows.gate, rows.k.dtype(), {e.rows}, "Associative gate");
  return e;
}

AssociativeSmallest smallest_of(View<double> smallest) {
  double* const both = smallest.as<double>();
  return {both, both + 1};
}

template <class T>
AssociativeState<T> state_of(View<> A, View<> z) {
  return {A ? A.as<T>() : nullptr, z ? z.as<T>() : nullptr};
}
template <class T>
AssociativeState<const T> state_of(ConstView<> A, ConstView<> z) {
  return {A ? A.as<T>() : nullptr, z ? z.as<T>() : nullptr};
}
template <class T>
AssociativeRows<const T> rows_of(const Associative::Rows& rows) {
  return {rows.k.as<T>(), rows.v.as<T>(), rows.gate.as<T>()};
}
template <class T>
AssociativeRows<T> rows_of(const Associative::RowGradients& rows) {
  return {rows.k.as<T>(), rows.v.as<T>(), rows.gate.as<T>()};
}

/// The reference, whose terms go to exact sums block by block.
template <class T>
void reference_read_backward(Queue& queue, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi,
                             ConstView<> A, ConstView<> z, const AssociativeExtents& e) {
  const bool exact = dA.dtype() == DType::Exact;
  std::vector<T> terms(exact ? static_cast<size_t>(e.keys * (e.dim + 1)) : 0);
  const AssociativeState<T> sums =
      exact ? AssociativeState<T>{terms.data(), terms.data() + e.keys * e.dim} : state_of<T>(dA, dz);
  for_row_blocks(queue, e.rows, 0, [&](int64_t begin, int64_t count) {
    std::fill(terms.begin(), terms.end(), T(0));
    AssociativeExtents part = e;
    part.rows = count;
    reference::associative_read_backward(d_phi.as<T>() + begin * e.keys, sums, dy.as<T>() + begin * e.dim,
                                         phi.as<T>() + begin * e.keys, state_of<T>(A, z), part);
    if (!exact) return;
    ExactSum::add(queue, dA, View<T>(sums.A, dA.shape()));
    ExactSum::add(queue, dz, View<T>(sums.z, dz.shape()));
  });
}

}  // namespace

int64_t Associative::read_scratch_bytes(DType dtype, int64_t keys, int64_t dim) {
  Arena arena;
  AssociativeScratch::read(arena, dtype, {0, keys, dim, {}});
  return arena.peak();
}

void Associative::read(Queue& queue, View<> y, View<> phi, ConstView<> A, ConstView<> z, View<double> smallest,
                       Arena& scratch) {
  const AssociativeExtents e = extents_of(queue, phi, y, "Associative phi, y");
  expect_shape(smallest, {2}, "Associative smallest");
  expect_state(A, z, sums_type(y.dtype()), e, "Associative state");
  if (!queue.device() && y.dtype() == DType::BF16)
    return wide<&Associative::read>(queue, y, phi, A, z, smallest, scratch);
  const Timed timed(queue, "Associative read", flops(e, A ? 1 : 0), y, phi, A, z);
  if (queue.device()) return associative_cuda->read(queue, y, phi, A, z, smallest, scratch);
  if (queue.reference(y.dtype()))
    return by_float_type(y.dtype(), [&]<class T>() {
      reference::associative_read(y.as<T>(), phi.as<T>(), state_of<T>(A, z), smallest_of(smallest), e);
    });
  cpu::associative_read(queue, y.as<float>(), phi.as<float>(), state_of<float>(A, z), smallest_of(smallest), e);
}

ProductCopies Associative::copies(int64_t rows, int64_t keys, int64_t dim, bool backward) {
  const ProductCopies forward = ProductCopies::of(rows, dim, keys) | ProductCopies::of(keys, dim, rows);
  return backward ? forward | ProductCopies::of(rows, keys, dim) : forward;
}

int64_t Associative::read_backward_scratch_bytes(DType dtype, int64_t rows, int64_t keys, int64_t dim) {
  Arena arena;
  AssociativeScratch::read_backward(arena, dtype, {rows, keys, dim, {}});
  return arena.peak();
}

void Associative::read_backward(Queue& queue, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi,
                                ConstView<> A, ConstView<> z, Arena& scratch) {
  const DType dtype = dy.dtype();
  const AssociativeExtents e = extents_of(queue, phi, dy, "Associative phi, dy");
  expect(d_phi, dtype, {e.rows, e.keys}, "Associative d_phi");
  expect_state(A, z, sums_type(dtype), e, "Associative state");
  expect_state(dA, dz, dA.dtype() == DType::Exact ? DType::Exact : sums_type(dtype), e, "Associative dA, dz");
  if (!queue.device() && dtype == DType::BF16)
    return wide<&Associative::read_backward>(queue, d_phi, dA, dz, dy, phi, A, z, scratch);
  const Timed timed(queue, "Associative read backward", flops(e, (A ? 1 : 0) + (A && dA ? 1 : 0)), d_phi, dA, dz, dy,
                    phi, A, z);
  if (queue.device()) return associative_cuda->read_backward(queue, d_phi, dA, dz, dy, phi, A, z, scratch);
  const ArenaScope scope(scratch);
  const View<> row_scratch = AssociativeScratch::read_backward(scratch, dtype, e).per_row;
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() { reference_read_backward<T>(queue, d_phi, dA, dz, dy, phi, A, z, e); });
  cpu::associative_read_backward(queue, d_phi.as<float>(), dA, dz, dy.as<float>(), phi.as<float>(),
                                 state_of<float>(A, z), row_scratch.as<float>(), e);
}

int64_t Associative::write_scratch_bytes(DType dtype, int64_t rows, int64_t keys, int64_t dim) {
  Arena arena;
  AssociativeScratch::write(arena, dtype, {rows, keys, dim, {}});
  return arena.peak();
}

void Associative::write(Queue& queue, View<> new_A, View<> new_z, const Rows& rows, ConstView<> A, ConstView<> z,
                        View<double> smallest, Arena& scratch) {
  const DType dtype = rows.k.dtype();
  const AssociativeExtents e = extents_of(queue, rows);
  expect_shape(smallest, {2}, "Associative smallest");
  expect(new_A, sums_type(dtype), {e.keys, e.dim}, "Associative new A");
  expect(new_z, sums_type(dtype), {e.keys}, "Associative new z");
  expect_state(A, z, sums_type(dtype), e, "Associative state");
  if (!queue.device() && dtype == DType::BF16)
    return wide<&Associative::write>(queue, new_A, new_z, rows, A, z, smallest, scratch);
  const Timed timed(queue, "Associative write", flops(e, A ? 2 : 1), new_A, new_z, rows.k, rows.v, A, z);
  if (queue.device()) return associative_cuda->write(queue, new_A, new_z, rows, A, z, smallest, scratch);
  const ArenaScope scope(scratch);
  const View<> delta = AssociativeScratch::write(scratch, dtype, e).old;
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::associative_write(state_of<T>(new_A, new_z), rows_of<T>(rows), state_of<T>(A, z), delta.as<T>(),
                                   smallest_of(smallest), e);
    });
  cpu::associative_write(queue, state_of<float>(new_A, new_z), rows_of<float>(rows), state_of<float>(A, z),
                         delta.as<float>(), smallest_of(smallest), e);
}

int64_t Associative::write_backward_scratch_bytes(DType dtype, int64_t rows, int64_t keys, int64_t dim) {
  Arena arena;
  AssociativeScratch::write_backward(arena, dtype, {rows, keys, dim, {}});
  return arena.peak();
}

void Associative::write_backward(Queue& queue, const RowGradients& d, View<> dA, View<> dz, ConstView<> d_new_A,
                                 ConstView<> d_new_z, const Rows& rows, ConstView<> A, ConstView<> z, Arena& scratch) {
  const DType dtype = rows.k.dtype();
  const AssociativeExtents e = extents_of(queue, rows);
  expect(d.k, dtype, {e.rows, e.keys}, "Associative dk");
  expect(d.v, dtype, {e.rows, e.dim}, "Associative dv");
  expect(d.gate, dtype, {e.rows}, "Associative d_gate");
  expect(d_new_A, sums_type(dtype), {e.keys, e.dim}, "Associative new dA");
  expect(d_new_z, sums_type(dtype), {e.keys}, "Associative new dz");
  expect_state(A, z, sums_type(dtype), e, "Associative state");
  expect_state(dA, dz, sums_type(dtype), e, "Associative dA, dz");
  if (!queue.device() && dtype == DType::BF16)
    return wide<&Associative::write_backward>(queue, d, dA, dz, d_new_A, d_new_z, rows, A, z, scratch);
  const Timed timed(queue, "Associative write backward", flops(e, 2 + (A ? 2 : 0) + (dA ? 1 : 0)), d.k, d.v, dA, dz,
                    d_new_A, d_new_z, rows.k, rows.v, A, z);
  if (queue.device()) return associative_cuda->write_backward(queue, d, dA, dz, d_new_A, d_new_z, rows, A, z, scratch);
  const ArenaScope scope(scratch);
  const auto s = AssociativeScratch::write_backward(scratch, dtype, e);
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference::associative_write_backward(rows_of<T>(d), state_of<T>(dA, dz), state_of<T>(d_new_A, d_new_z),
                                            rows_of<T>(rows), state_of<T>(A, z), s.old.as<T>(), s.per_row.as<T>(), e);
    });
  cpu::associative_write_backward(queue, rows_of<float>(d), state_of<float>(dA, dz), state_of<float>(d_new_A, d_new_z),
                                  rows_of<float>(rows), state_of<float>(A, z), s.old.as<float>(), s.per_row.as<float>(),
                                  e);
}

}  // namespace memring
