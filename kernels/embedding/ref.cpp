// Token embedding, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/ref.h"

namespace memring::reference {

template <class T>
void embedding_forward(T* y, const T* table, const int32_t* ids, int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < dim; ++i) y[r * dim + i] = table[ids[r] * dim + i];
}

template <class T>
void embedding_backward(T* d_table, const T* dy, const int32_t* ids, int64_t rows, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < dim; ++i) d_table[ids[r] * dim + i] += dy[r * dim + i];
}

template void embedding_forward(float*, const float*, const int32_t*, int64_t, int64_t);
template void embedding_forward(double*, const double*, const int32_t*, int64_t, int64_t);
template void embedding_backward(float*, const float*, const int32_t*, int64_t, int64_t);
template void embedding_backward(double*, const double*, const int32_t*, int64_t, int64_t);

}  // namespace memring::reference
