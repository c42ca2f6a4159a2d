// Copies on a device that round or widen what they copy. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"

namespace memring {

template <class To, class From>
MEMRING_KERNEL void convert_numbers(To* y, const From* x, int64_t count, bool packed) {
  in_packs<kPack<To, From>>(count, packed, [&]<int N>(int64_t i) {
    const auto from = load_pack<N>(x + i);
    Pack<To, N> to;
    for (int j = 0; j < N; ++j) store(to.of[j], computed(from.of[j]));
    store_pack(y + i, to);
  });
}

/// y = x, of the same type or one of them in bf16 and the other in fp32.
inline void convert(Queue& queue, View<> y, ConstView<> x) {
  by_stored_types(y.dtype(), x.dtype(), [&]<class To, class From>() {
    launch<convert_numbers<To, From>>(queue, grid_for(y.size() / kPack<To, From>), address<To>(y), address<From>(x),
                                      y.size(), packed(y, x));
  });
}

}  // namespace memring
