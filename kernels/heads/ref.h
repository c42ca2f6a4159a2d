// Layout change between projections and attention: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/heads/operands.h"

namespace memring::reference {

template <class T>
void heads_split(T* out, const T* in, HeadsExtents);
template <class T>
void heads_merge(T* out, const T* in, HeadsExtents);

}  // namespace memring::reference
