// Root-mean-square normalisation, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/ref.h"

#include <cmath>

namespace memring::reference {

template <class T>
void rmsnorm_forward(T* y, T* inv_rms, const T* x, const T* gain, int64_t rows, int64_t dim, double eps) {
  for (int64_t r = 0; r < rows; ++r, x += dim, y += dim) {
    T sum = 0;
    for (int64_t i = 0; i < dim; ++i) sum += x[i] * x[i];
    inv_rms[r] = 1 / std::sqrt(sum / static_cast<T>(dim) + static_cast<T>(eps));
    for (int64_t i = 0; i < dim; ++i) y[i] = x[i] * inv_rms[r] * gain[i];
  }
}

// With n = x * inv_rms and g = dy * gain:  dx = inv_rms * (g - n * mean(g * n)),  dgain += sum over rows of dy * n.
template <class T>
void rmsnorm_backward(T* dx, Write write, T* dgain, const T* dy, const T* x, const T* gain, const T* inv_rms,
                      int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r, x += dim, dx += dim, dy += dim) {
    T mean = 0;
    for (int64_t i = 0; i < dim; ++i) mean += dy[i] * gain[i] * x[i] * inv_rms[r];
    mean /= static_cast<T>(dim);
    for (int64_t i = 0; i < dim; ++i) {
      const T n = x[i] * inv_rms[r];
      const T d = inv_rms[r] * (dy[i] * gain[i] - n * mean);
      dgain[i] += dy[i] * n;
      dx[i] = write == Write::Accumulate ? dx[i] + d : d;
    }
  }
}

template void rmsnorm_forward(float*, float*, const float*, const float*, int64_t, int64_t, double);
template void rmsnorm_forward(double*, double*, const double*, const double*, int64_t, int64_t, double);
template void rmsnorm_backward(float*, Write, float*, const float*, const float*, const float*, const float*, int64_t,
                               int64_t);
template void rmsnorm_backward(double*, Write, double*, const double*, const double*, const double*, const double*,
                               int64_t, int64_t);

}  // namespace memring::reference
