// Rotary position embedding: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "kernels/rope/operands.h"

namespace memring::reference {

template <class T>
void rope_table(T* cos, T* sin, std::span<const int32_t> positions, std::span<const double> inverse, double factor);
template <class T>
void rope_forward(T* out, const T* in, const T* cos, const T* sin, RopeExtents);
template <class T>
void rope_backward(T* d_in, const T* d_out, const T* cos, const T* sin, RopeExtents);

}  // namespace memring::reference
