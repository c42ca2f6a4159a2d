// Feature map: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

template <class T>
void dpfp_forward(T* phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu);
template <class T>
void dpfp_backward(T* dx, const T* d_phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu);

}  // namespace memring::reference
