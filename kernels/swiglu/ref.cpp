// Gated activation, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/ref.h"

#include <cmath>

namespace memring::reference {

template <class T>
void swiglu_forward(T* y, const T* gate, const T* up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

// With s = sigmoid(gate), s' = s (1 - s):  d_up = dy gate s,  d_gate = dy up (s + gate s') = dy up s (1 + gate (1 -
// s)).
template <class T>
void swiglu_backward(T* d_gate, T* d_up, T* y, const T* dy, const T* gate, const T* up, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const T d = dy[i], g = gate[i], u = up[i], s = 1 / (1 + std::exp(-g));
    d_gate[i] = d * u * s * (1 + g * (1 - s));
    d_up[i] = d * g * s;
    y[i] = g * s * u;
  }
}

template void swiglu_forward(float*, const float*, const float*, int64_t);
template void swiglu_forward(double*, const double*, const double*, int64_t);
template void swiglu_backward(float*, float*, float*, const float*, const float*, const float*, int64_t);
template void swiglu_backward(double*, double*, double*, const double*, const double*, const double*, int64_t);

}  // namespace memring::reference
