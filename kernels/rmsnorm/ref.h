// RMSNorm: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/write.h"

namespace memring::reference {

template <class T>
void rmsnorm_forward(T* y, T* inv_rms, const T* x, const T* gain, int64_t rows, int64_t dim, double eps);
template <class T>
void rmsnorm_backward(T* dx, Write write, T* dgain, const T* dy, const T* x, const T* gain, const T* inv_rms,
                      int64_t rows, int64_t dim);

}  // namespace memring::reference
