// Copies on a device that round or widen what they copy. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {

template <class To, class From>
MEMRING_KERNEL void convert_numbers(To* y, const From* x, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) store(y[i], computed(x[i]));
}

/// y = x, of the same type or one of them in bf16 and the other in fp32.
inline void convert(Queue& queue, View<> y, ConstView<> x) {
  by_stored_types(y.dtype(), x.dtype(), [&]<class To, class From>() {
    launch<convert_numbers<To, From>>(queue, grid_for(y.size()), address<To>(y), address<From>(x), y.size());
  });
}

}  // namespace memring
