// Copy, fill, scaling and residual addition, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/ref.h"

namespace memring::reference {

template <class T>
void copy(T* y, const T* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i];
}

template <class T>
void fill(T* y, T value, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = value;
}

template <class T>
void scale(T* y, T factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] *= factor;
}

template <class T>
void add(T* y, const T* a, const T* b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

template void copy(float*, const float*, int64_t);
template void copy(double*, const double*, int64_t);
template void fill(float*, float, int64_t);
template void fill(double*, double, int64_t);
template void scale(float*, float, int64_t);
template void scale(double*, double, int64_t);
template void add(float*, const float*, const float*, int64_t);
template void add(double*, const double*, const double*, int64_t);

}  // namespace memring::reference
