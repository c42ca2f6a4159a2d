// Layout change between projections and attention: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

struct HeadExtents {
  int64_t batch, heads, rows, head_dim;
};

template <class T>
void heads_split(T* out, const T* in, HeadExtents);
template <class T>
void heads_merge(T* out, const T* in, HeadExtents);

}  // namespace memring::reference
