// Sums over the lanes of a warp, in a fixed order. Private to kernels/.
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

}  // namespace memring
