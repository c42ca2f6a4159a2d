// Sums over the lanes of a warp or block, in a fixed order. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>

namespace memring {

/// The same number on every lane: halves of the warp are added, then quarters, and so on.
template <class T>
MEMRING_LANE T warp_sum(T value, Place place = Place::current()) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value += shuffle_xor(value, bits, place);
  return value;
}

/// The same over all threads of the block: warps are added in their order. `of_warp`, a number of the block's memory
/// for each warp, is used for one sum alone.
template <class T>
MEMRING_LANE T block_sum(T value, T* of_warp, Place place = Place::current()) {
  value = warp_sum(value, place);
  if (lane_index() == 0) of_warp[warp_index()] = value;
  memring::meet_block(place);
  T sum = 0;
  for (int warp = 0; warp < block_threads() / kWarp; ++warp) sum += of_warp[warp];
  return sum;
}

}  // namespace memring
