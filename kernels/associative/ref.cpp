// Feature map and associative memory, reference. A state's A [keys, dim] is stored as a linear layer stores weights of
// `keys` outputs and `dim` inputs, so the three products of that layer's reference serve here.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/ref.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/associative/associative.h"
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
T denominator(const T* k, MemoryState<const T> state, int64_t keys) {
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
void through_memory(T* y, Write write, const T* x, const T* A, MemoryExtent e) {
  linear_input_gradient(y, write, x, A, e.rows, e.dim, e.keys, e.products);
}

/// y [rows, keys] = (+=) x [rows, dim] Aᵀ
template <class T>
void back_through_memory(T* y, Write write, const T* x, const T* A, MemoryExtent e) {
  linear_forward(y, write, x, A, e.rows, e.dim, e.keys, e.products);
}

/// A += kᵀ v
template <class T>
void outer_products(T* A, const T* k, const T* v, MemoryExtent e) {
  linear_weight_gradient(A, k, v, e.rows, e.dim, e.keys, e.products);
}

template <class T>
void copy_or_zero(T* y, const T* x, int64_t count) {
  if (x)
    std::copy_n(x, count, y);
  else
    std::fill_n(y, count, T(0));
}

/// u = [relu(x); relu(-x)]
template <class T>
std::vector<T> halves(const T* x, int64_t key_dim) {
  std::vector<T> u(static_cast<size_t>(2 * key_dim));
  for (int64_t i = 0; i < key_dim; ++i) {
    u[static_cast<size_t>(i)] = std::max(x[i], T(0));
    u[static_cast<size_t>(i + key_dim)] = std::max(-x[i], T(0));
  }
  return u;
}

}  // namespace

template <class T>
void dpfp_forward(T* phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu) {
  const int64_t width = 2 * key_dim;
  for (int64_t r = 0; r < rows; ++r, x += key_dim) {
    const std::vector<T> u = halves(x, key_dim);
    for (int64_t j = 1; j <= nu; ++j, phi += width)
      for (int64_t i = 0; i < width; ++i)
        phi[i] = u[static_cast<size_t>(i)] * u[static_cast<size_t>((i - j % width + width) % width)];
  }
}

// Feature i of block j is u_i u_{i-j}: it sends a gradient to both.
template <class T>
void dpfp_backward(T* dx, const T* d_phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu) {
  const int64_t width = 2 * key_dim;
  for (int64_t r = 0; r < rows; ++r, x += key_dim, dx += key_dim) {
    const std::vector<T> u = halves(x, key_dim);
    std::vector<T> du(u.size(), T(0));
    for (int64_t j = 1; j <= nu; ++j, d_phi += width)
      for (int64_t i = 0; i < width; ++i) {
        const auto here = static_cast<size_t>(i), there = static_cast<size_t>((i - j % width + width) % width);
        du[here] += d_phi[i] * u[there];
        du[there] += d_phi[i] * u[here];
      }
    for (int64_t i = 0; i < key_dim; ++i) {
      const T positive = du[static_cast<size_t>(i)], negative = du[static_cast<size_t>(i + key_dim)];
      dx[i] = x[i] > 0 ? positive : x[i] < 0 ? -negative : T(0);
    }
  }
}

// With p = phi / den:  y += p A.
template <class T>
void memory_read(T* y, T* phi, MemoryState<const T> state, Associative::Smallest& smallest, MemoryExtent e) {
  for (int64_t r = 0; r < e.rows; ++r) {
    T* const p = phi + r * e.keys;
    const T den = denominator<T>(p, state, e.keys);
    if (state.z) smallest.denominator = std::min(smallest.denominator, static_cast<double>(den));
    for (int64_t i = 0; i < e.keys; ++i) p[i] /= den;
  }
  if (state.A) through_memory(y, Write::Accumulate, phi, state.A, e);
}

// dp = A dy;  dA += p dyᵀ;  d_den = -(dp · p) / den, and den = phi · z + eps:
//     dz += d_den phi = -(dp · p) p,   d_phi = dp / den + d_den z = (dp - (dp · p) z) / den
template <class T>
void memory_read_backward(T* d_phi, MemoryState<T> d_state, const T* dy, T* phi, MemoryState<const T> state,
                          MemoryExtent e) {
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
void memory_write(MemoryState<T> new_state, MemoryRows<const T> rows, MemoryState<const T> state, T* delta,
                  Associative::Smallest& smallest, MemoryExtent e) {
  copy_or_zero(new_state.A, state.A, e.keys * e.dim);
  copy_or_zero(new_state.z, state.z, e.keys);
  std::fill_n(delta, e.rows * e.dim, T(0));
  if (state.A) through_memory(delta, Write::Overwrite, rows.k, state.A, e);
  for (int64_t r = 0; r < e.rows; ++r) {
    const T* const k = rows.k + r * e.keys;
    const T den = denominator(k, state, e.keys), g = gamma(k, den, e.keys), beta = sigmoid(rows.gate[r]);
    smallest.key = std::min(smallest.key, static_cast<double>(dot(k, k, e.keys)));
    if (state.z) smallest.denominator = std::min(smallest.denominator, static_cast<double>(den));
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
void memory_write_backward(MemoryRows<T> d, MemoryState<T> d_state, MemoryState<const T> d_new,
                           MemoryRows<const T> rows, MemoryState<const T> state, T* old, T* d_den, MemoryExtent e) {
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

template void dpfp_forward(float*, const float*, int64_t, int64_t, int64_t);
template void dpfp_backward(float*, const float*, const float*, int64_t, int64_t, int64_t);
template void memory_read(float*, float*, MemoryState<const float>, Associative::Smallest&, MemoryExtent);
template void memory_read_backward(float*, MemoryState<float>, const float*, float*, MemoryState<const float>,
                                   MemoryExtent);
template void memory_write(MemoryState<float>, MemoryRows<const float>, MemoryState<const float>, float*,
                           Associative::Smallest&, MemoryExtent);
template void memory_write_backward(MemoryRows<float>, MemoryState<float>, MemoryState<const float>,
                                    MemoryRows<const float>, MemoryState<const float>, float*, float*, MemoryExtent);
template void dpfp_forward(double*, const double*, int64_t, int64_t, int64_t);
template void dpfp_backward(double*, const double*, const double*, int64_t, int64_t, int64_t);
template void memory_read(double*, double*, MemoryState<const double>, Associative::Smallest&, MemoryExtent);
template void memory_read_backward(double*, MemoryState<double>, const double*, double*, MemoryState<const double>,
                                   MemoryExtent);
template void memory_write(MemoryState<double>, MemoryRows<const double>, MemoryState<const double>, double*,
                           Associative::Smallest&, MemoryExtent);
template void memory_write_backward(MemoryRows<double>, MemoryState<double>, MemoryState<const double>,
                                    MemoryRows<const double>, MemoryState<const double>, double*, double*,
                                    MemoryExtent);

}  // namespace memring::reference
