// Feature map, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/ref.h"

#include <algorithm>
#include <vector>

namespace memring::reference {
namespace {

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

template void dpfp_forward(float*, const float*, int64_t, int64_t, int64_t);
template void dpfp_backward(float*, const float*, const float*, int64_t, int64_t, int64_t);
template void dpfp_forward(double*, const double*, int64_t, int64_t, int64_t);
template void dpfp_backward(double*, const double*, const double*, int64_t, int64_t, int64_t);

}  // namespace memring::reference
