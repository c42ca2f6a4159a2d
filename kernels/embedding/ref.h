// Token embedding: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

template <class T>
void embedding_forward(T* y, const T* table, const int32_t* ids, int64_t rows, int64_t dim);
template <class T>
void embedding_backward(T* d_table, const T* dy, const int32_t* ids, int64_t rows, int64_t dim);

}  // namespace memring::reference
