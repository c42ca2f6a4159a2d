// Rotary position embedding, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/ref.h"

#include <cmath>

namespace memring::reference {

template <class T>
void rope_table(T* cos, T* sin, std::span<const int32_t> positions, std::span<const double> inverse, double factor) {
  const auto half = std::ssize(inverse);
  for (int64_t i = 0; i < half; ++i)
    for (int64_t r = 0; r < std::ssize(positions); ++r) {
      const double angle = positions[static_cast<size_t>(r)] * inverse[static_cast<size_t>(i)];
      cos[r * half + i] = static_cast<T>(factor * std::cos(angle));
      sin[r * half + i] = static_cast<T>(factor * std::sin(angle));
    }
}

// out [batch, heads, rows, 2 half] · in [batch, rows, heads, 2 half]
template <class T>
void rope_forward(T* out, const T* in, const T* cos, const T* sin, RopeExtents e) {
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t r = 0; r < e.rows; ++r) {
        const T *x = in + ((b * e.rows + r) * e.heads + h) * 2 * e.half, *c = cos + e.angles_of(b, r),
                *s = sin + e.angles_of(b, r);
        T* y = out + ((b * e.heads + h) * e.rows + r) * 2 * e.half;
        for (int64_t i = 0; i < e.half; ++i) {
          y[i] = x[i] * c[i] - x[i + e.half] * s[i];
          y[i + e.half] = x[i + e.half] * c[i] + x[i] * s[i];
        }
      }
}

// A rotation's transpose is the rotation by the opposite angle.
template <class T>
void rope_backward(T* d_in, const T* d_out, const T* cos, const T* sin, RopeExtents e) {
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t r = 0; r < e.rows; ++r) {
        const T *dy = d_out + ((b * e.heads + h) * e.rows + r) * 2 * e.half, *c = cos + e.angles_of(b, r),
                *s = sin + e.angles_of(b, r);
        T* dx = d_in + ((b * e.rows + r) * e.heads + h) * 2 * e.half;
        for (int64_t i = 0; i < e.half; ++i) {
          dx[i] = dy[i] * c[i] + dy[i + e.half] * s[i];
          dx[i + e.half] = dy[i + e.half] * c[i] - dy[i] * s[i];
        }
      }
}

template void rope_table(float*, float*, std::span<const int32_t>, std::span<const double>, double);
template void rope_table(double*, double*, std::span<const int32_t>, std::span<const double>, double);
template void rope_forward(float*, const float*, const float*, const float*, RopeExtents);
template void rope_forward(double*, const double*, const double*, const double*, RopeExtents);
template void rope_backward(float*, const float*, const float*, const float*, RopeExtents);
template void rope_backward(double*, const double*, const double*, const double*, RopeExtents);

}  // namespace memring::reference
