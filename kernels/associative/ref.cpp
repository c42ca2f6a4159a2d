// Associative memory, reference. A state's A [keys, dim] is stored as a linear layer stores weights of
// `keys` outputs and `dim` inputs, so the three products of that layer's reference serve here.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/linear/ref.h"

namespace memring::reference {
namespace {

template <class T>
constexpr T kEps = static_cast<T>(Associative::kEps);

template <class T>
T dot(const T* a, const T* b, int64_t count) {
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/// k · z + eps
template <class T>
T denominator(const T* k, AssociativeState<const T> state, int64_t keys) {
  return (state.z ? dot(k, state.z, keys) : T(0)) + kEps<T>;
}

template <class T>
T gamma(const T* k, T den, int64_t keys) {
  return std::clamp(1 - den / (dot(k, k, keys) + kEps<T>), T(0), T(1));
}

template <class T>
T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}

/// y [rows, dim] = (+=) x [rows, keys] A
template <class T>
void through_memory(T* y, Write write, const T* x, const T* A, AssociativeExtents e) {
  linear_input_gradient(y, write, x, A, e.rows, e.dim, e.keys, e.products);
}

/// y [rows, keys] = (+=) x [rows, dim] Aᵀ
template <class T>
void back_through_memory(T* y, Write write, const T* x, const T* A, AssociativeExtents e) {
  linear_forward(y, write, x, A, e.rows, e.dim, e.keys, e.products);
}

/// A += kᵀ v
template <class T>
void outer_products(T* A, const T* k, const T* v, AssociativeExtents e) {
  linear_weight_gradient(A, k, v, e.rows, e.dim, e.keys, e.products);
}

template <class T>
void copy_or_zero(T* y, const T* x, int64_t count) {
  if (x)
    std::copy_n(x, count, y);
  else
    std::fill_n(y, count, T(0));
}

}  // namespace

// With p = phi / den:  y += p A.
template <class T>
void associative_read(T* y, T* phi, AssociativeState<const T> state, AssociativeSmallest smallest,
                      AssociativeExtents e) {
  for (int64_t r = 0; r < e.rows; ++r) {
    T* const p = phi + r * e.keys;
    const T den = denominator<T>(p, state, e.keys);
    if (state.z) *smallest.denominator = std::min(*smallest.denominator, static_cast<double>(den));
    for (int64_t i = 0; i < e.keys; ++i) p[i] /= den;
  }
  if (state.A) through_memory(y, Write::Accumulate, phi, state.A, e);
}

// dp = A dy;  dA += p dyᵀ;  d_den = -(dp · p) / den, and den = phi · z + eps:
//     dz += d_den phi = -(dp · p) p,   d_phi = dp / den + d_den z = (dp - (dp · p) z) / den
template <class T>
void associative_read_backward(T* d_phi, AssociativeState<T> d_state, const T* dy, T* phi,
                               AssociativeState<const T> state, AssociativeExtents e) {
  if (!state.A) return std::fill_n(d_phi, e.rows * e.keys, T(0)), void();
  std::vector<T> den(static_cast<size_t>(e.rows));
  for (int64_t r = 0; r < e.rows; ++r) {
    T* const p = phi + r * e.keys;
    den[static_cast<size_t>(r)] = denominator<T>(p, state, e.keys);
    for (int64_t i = 0; i < e.keys; ++i) p[i] /= den[static_cast<size_t>(r)];
  }
  back_through_memory(d_phi, Write::Overwrite, dy, state.A, e);
  if (d_state.A) outer_products(d_state.A, phi, dy, e);
  for (int64_t r = 0; r < e.rows; ++r, phi += e.keys, d_phi += e.keys) {
    const T along = dot(d_phi, phi, e.keys);
    for (int64_t i = 0; i < e.keys; ++i) {
      if (d_state.z) d_state.z[i] -= along * phi[i];
      d_phi[i] = (d_phi[i] - along * state.z[i]) / den[static_cast<size_t>(r)];
    }
  }
}

template <class T>
void associative_write(AssociativeState<T> new_state, AssociativeRows<const T> rows, AssociativeState<const T> state,
                       T* delta, AssociativeSmallest smallest, AssociativeExtents e) {
  copy_or_zero(new_state.A, state.A, e.keys * e.dim);
  copy_or_zero(new_state.z, state.z, e.keys);
  std::fill_n(delta, e.rows * e.dim, T(0));
  if (state.A) through_memory(delta, Write::Overwrite, rows.k, state.A, e);
  for (int64_t r = 0; r < e.rows; ++r) {
    const T* const k = rows.k + r * e.keys;
    const T den = denominator(k, state, e.keys), g = gamma(k, den, e.keys), beta = sigmoid(rows.gate[r]);
    *smallest.key = std::min(*smallest.key, static_cast<double>(dot(k, k, e.keys)));
    if (state.z) *smallest.denominator = std::min(*smallest.denominator, static_cast<double>(den));
    for (int64_t i = 0; i < e.dim; ++i) {
      T& d = delta[r * e.dim + i];
      d = beta * (rows.v[r * e.dim + i] - d / den);
    }
    for (int64_t i = 0; i < e.keys; ++i) new_state.z[i] += g * k[i];
  }
  outer_products(new_state.A, rows.k, delta, e);
}

// With w = v - old, old = k A / den, den = k · z + eps, and G, g the gradients of the new A and z:
//     d_beta = (k G) · w,   dv = beta (k G),   d_old = -dv,   d_num = d_old / den,   d_den = -(d_old · old) / den
//     dk = beta G w + gamma g + A d_num + d_den z,   dA = G + sum of k d_numᵀ,   dz = g + sum of d_den k
template <class T>
void associative_write_backward(AssociativeRows<T> d, AssociativeState<T> d_state, AssociativeState<const T> d_new,
                                AssociativeRows<const T> rows, AssociativeState<const T> state, T* old, T* d_den,
                                AssociativeExtents e) {
  std::fill_n(old, e.rows * e.dim, T(0));
  if (state.A) through_memory(old, Write::Overwrite, rows.k, state.A, e);
  through_memory(d.v, Write::Overwrite, rows.k, d_new.A, e);
  T *const weighted = old, *const d_num = old;  // in turn
  for (int64_t r = 0; r < e.rows; ++r) {
    const T den = denominator(rows.k + r * e.keys, state, e.keys), beta = sigmoid(rows.gate[r]);
    T d_beta = 0, along = 0;
    for (int64_t i = r * e.dim; i < (r + 1) * e.dim; ++i) {
      const T value = old[i] / den, w = rows.v[i] - value;
      d_beta += d.v[i] * w;
      d.v[i] *= beta;
      along += d.v[i] * value;
      weighted[i] = beta * w;
    }
    d.gate[r] = d_beta * beta * (1 - beta);
    d_den[r] = along / den;
  }
  back_through_memory(d.k, Write::Overwrite, weighted, d_new.A, e);
  for (int64_t r = 0; r < e.rows; ++r) {
    const T* const k = rows.k + r * e.keys;
    const T den = denominator(k, state, e.keys), g = gamma(k, den, e.keys);
    for (int64_t i = r * e.dim; i < (r + 1) * e.dim; ++i) d_num[i] = -d.v[i] / den;
    for (int64_t i = 0; i < e.keys; ++i)
      d.k[r * e.keys + i] += g * d_new.z[i] + (state.z ? d_den[r] * state.z[i] : T(0));
  }
  if (state.A) back_through_memory(d.k, Write::Accumulate, d_num, state.A, e);
  if (!d_state.A) return;
  std::copy_n(d_new.A, e.keys * e.dim, d_state.A);
  std::copy_n(d_new.z, e.keys, d_state.z);
  outer_products(d_state.A, rows.k, d_num, e);
  for (int64_t r = 0; r < e.rows; ++r)
    for (int64_t i = 0; i < e.keys; ++i) d_state.z[i] += d_den[r] * rows.k[r * e.keys + i];
}

template void associative_read(float*, float*, AssociativeState<const float>, AssociativeSmallest, AssociativeExtents);
template void associative_read_backward(float*, AssociativeState<float>, const float*, float*,
                                        AssociativeState<const float>, AssociativeExtents);
template void associative_write(AssociativeState<float>, AssociativeRows<const float>, AssociativeState<const float>,
                                float*, AssociativeSmallest, AssociativeExtents);
template void associative_write_backward(AssociativeRows<float>, AssociativeState<float>, AssociativeState<const float>,
                                         AssociativeRows<const float>, AssociativeState<const float>, float*, float*,
                                         AssociativeExtents);
template void associative_read(double*, double*, AssociativeState<const double>, AssociativeSmallest,
                               AssociativeExtents);
template void associative_read_backward(double*, AssociativeState<double>, const double*, double*,
                                        AssociativeState<const double>, AssociativeExtents);
template void associative_write(AssociativeState<double>, AssociativeRows<const double>, AssociativeState<const double>,
                                double*, AssociativeSmallest, AssociativeExtents);
template void associative_write_backward(AssociativeRows<double>, AssociativeState<double>,
                                         AssociativeState<const double>, AssociativeRows<const double>,
                                         AssociativeState<const double>, double*, double*, AssociativeExtents);

}  // namespace memring::reference
