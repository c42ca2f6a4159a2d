// Gated activation: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

template <class T>
void swiglu_forward(T* y, const T* gate, const T* up, int64_t count);
template <class T>
void swiglu_backward(T* d_gate, T* d_up, T* y, const T* dy, const T* gate, const T* up, int64_t count);

}  // namespace memring::reference
