// Sum of squares: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring::reference {

template <class T>
double squared_norm(const T* x, int64_t count);

}  // namespace memring::reference
