// Reference products on plain pointers; cross-entropy uses them too. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring::reference {

template <class T>
void linear_forward(T* y, Write write, const T* x, const T* w, int64_t rows, int64_t in, int64_t out,
                    Products products);
template <class T>
void linear_input_gradient(T* dx, Write write, const T* dy, const T* w, int64_t rows, int64_t in, int64_t out,
                           Products products);
template <class T>
void linear_weight_gradient(T* dw, const T* dy, const T* x, int64_t rows, int64_t in, int64_t out, Products products);

}  // namespace memring::reference
