// Sum of squares: the fast path. Private to kernels/norm.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/queue.h"

namespace memring::cpu {

// sums: of each `block` elements of x [count] by themselves
void squared_norms(const Queue&, std::span<double> sums, const float* x, int64_t count, int64_t block);

}  // namespace memring::cpu
