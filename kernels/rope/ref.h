// Rotary position embedding: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

struct RopeExtents {
  int64_t batch, heads, rows, half;
};

template <class T>
void rope_forward(T* out, const T* in, const T* cos, const T* sin, RopeExtents);
template <class T>
void rope_backward(T* d_in, const T* d_out, const T* cos, const T* sin, RopeExtents);

}  // namespace memring::reference
