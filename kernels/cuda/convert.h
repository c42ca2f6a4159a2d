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
  const Grid grid = grid_for(y.size());
  if (y.dtype() == DType::BF16 && x.dtype() == DType::F32)
    return launch<convert_numbers<Bf16, float>>(queue, grid, address<Bf16>(y), address<float>(x), y.size());
  if (y.dtype() == DType::F32 && x.dtype() == DType::BF16)
    return launch<convert_numbers<float, Bf16>>(queue, grid, address<float>(y), address<Bf16>(x), y.size());
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<convert_numbers<T, T>>(queue, grid, address<T>(y), address<T>(x), y.size());
  });
}

}  // namespace memring
