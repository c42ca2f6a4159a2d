// AdamW: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/adamw/adamw.h"

namespace memring::reference {

template <class T>
void adamw_step(T* w, T* m, T* v, const T* grad, int64_t count, const AdamW::Settings&);

}  // namespace memring::reference
