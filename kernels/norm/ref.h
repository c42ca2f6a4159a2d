// Sum of squares: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace memring::reference {

// sums: of each `block` elements of x [count] by themselves
template <class T>
void squared_norms(std::span<double> sums, const T* x, int64_t count, int64_t block);

}  // namespace memring::reference
