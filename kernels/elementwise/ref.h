// Copy, fill, scaling and residual addition: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

template <class T>
void copy(T* y, const T* x, int64_t count);
template <class T>
void fill(T* y, T value, int64_t count);
template <class T>
void scale(T* y, T factor, int64_t count);
template <class T>
void add(T* y, const T* a, const T* b, int64_t count);

}  // namespace memring::reference
