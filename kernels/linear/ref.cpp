// Linear layer, reference: sums over one index, in ascending order.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/ref.h"

#include <algorithm>

#include "kernels/common/operand.h"

namespace memring::reference {
// y[r][o] = sum over i of x[r][i] w[o][i]
template <class T>
void linear_forward(T* y, Write write, const T* x, const T* w, int64_t rows, int64_t in, int64_t out,
                    Products products) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      T sum = 0;
      for (int64_t i = 0; i < in; ++i) sum += operand(x[r * in + i], products) * operand(w[o * in + i], products);
      y[r * out + o] = write == Write::Accumulate ? y[r * out + o] + sum : sum;
    }
}

// dx[r][i] = sum over o of dy[r][o] w[o][i]
template <class T>
void linear_input_gradient(T* dx, Write write, const T* dy, const T* w, int64_t rows, int64_t in, int64_t out,
                           Products products) {
  for (int64_t r = 0; r < rows; ++r, dx += in, dy += out) {
    if (write == Write::Overwrite) std::fill_n(dx, in, T(0));
    for (int64_t o = 0; o < out; ++o) {
      const T d = operand(dy[o], products);
      for (int64_t i = 0; i < in; ++i) dx[i] += d * operand(w[o * in + i], products);
    }
  }
}

// dw[o][i] += sum over r of dy[r][o] x[r][i]
template <class T>
void linear_weight_gradient(T* dw, const T* dy, const T* x, int64_t rows, int64_t in, int64_t out, Products products) {
  for (int64_t r = 0; r < rows; ++r, dy += out, x += in)
    for (int64_t o = 0; o < out; ++o) {
      const T d = operand(dy[o], products);
      for (int64_t i = 0; i < in; ++i) dw[o * in + i] += d * operand(x[i], products);
    }
}

template void linear_forward(float*, Write, const float*, const float*, int64_t, int64_t, int64_t, Products);
template void linear_forward(double*, Write, const double*, const double*, int64_t, int64_t, int64_t, Products);
template void linear_input_gradient(float*, Write, const float*, const float*, int64_t, int64_t, int64_t, Products);
template void linear_input_gradient(double*, Write, const double*, const double*, int64_t, int64_t, int64_t, Products);
template void linear_weight_gradient(float*, const float*, const float*, int64_t, int64_t, int64_t, Products);
template void linear_weight_gradient(double*, const double*, const double*, int64_t, int64_t, int64_t, Products);

}  // namespace memring::reference
