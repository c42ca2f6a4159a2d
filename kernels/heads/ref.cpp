// Change between row-major and head-major layout, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/ref.h"

namespace memring::reference {

// out [batch, heads, rows, head_dim] · in [batch, rows, heads, head_dim]
template <class T>
void heads_split(T* out, const T* in, HeadsExtents e) {
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t h = 0; h < e.heads; ++h)
      for (int64_t r = 0; r < e.rows; ++r)
        for (int64_t i = 0; i < e.head_dim; ++i) *out++ = in[((b * e.rows + r) * e.heads + h) * e.head_dim + i];
}

// out [batch, rows, heads, head_dim] · in [batch, heads, rows, head_dim]
template <class T>
void heads_merge(T* out, const T* in, HeadsExtents e) {
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t r = 0; r < e.rows; ++r)
      for (int64_t h = 0; h < e.heads; ++h)
        for (int64_t i = 0; i < e.head_dim; ++i) *out++ = in[((b * e.heads + h) * e.rows + r) * e.head_dim + i];
}

template void heads_split(float*, const float*, HeadsExtents);
template void heads_split(double*, const double*, HeadsExtents);
template void heads_merge(float*, const float*, HeadsExtents);
template void heads_merge(double*, const double*, HeadsExtents);

}  // namespace memring::reference
