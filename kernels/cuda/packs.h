// Passes of a whole grid over numbers that lie behind each other, 16 bytes of them at a time: with less for each thread
// memory does not give all that it could. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>

#include <algorithm>

#include "kernels/cuda/stored_type.h"

namespace memring {

template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T of[N];
};

/// How many numbers a thread takes at once: 16 bytes of the narrower ones.
template <class... T>
constexpr int kPack = 16 / static_cast<int>(std::min({sizeof(T)...}));

template <int N, class T>
MEMRING_LANE Pack<T, N> load_pack(const T* numbers) {
  return *reinterpret_cast<const Pack<T, N>*>(numbers);
}
template <int N, class T>
MEMRING_LANE void store_pack(T* numbers, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(numbers) = pack;
}

/// body.operator()<N>(i) for numbers i to i + N - 1 of [0, count), with N = Most or 1: one by one those that are left,
/// and all where views are not `packed`.
template <int Most, class Body>
MEMRING_LANE void in_packs(int64_t count, bool packed, const Body& body) {
  const int64_t packs = packed ? count / Most : 0;
  for (int64_t p = grid_index(); p < packs; p += grid_threads()) body.template operator()<Most>(p * Most);
  for (int64_t i = packs * Most + grid_index(); i < count; i += grid_threads()) body.template operator()<1>(i);
}

/// f.operator()<N>() with the numbers that a thread takes of a row of `width`: a whole pack where rows have no others
/// and views are `packed`, or one.
template <class... T, class F>
void by_pack(int64_t width, bool packed, const F& f) {
  if (packed && width % kPack<T...> == 0) return f.template operator()<kPack<T...>>();
  f.template operator()<1>();
}

/// Whether these begin at multiples of 16 bytes.
template <class... V>
bool packed(const V&... views) {
  return ((reinterpret_cast<uintptr_t>(views.data()) % 16 == 0) && ...);
}

}  // namespace memring
