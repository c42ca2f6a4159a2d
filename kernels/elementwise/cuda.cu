// Small passes over a device's memory.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/convert.h"
#include "kernels/cuda/packs.h"

namespace memring {
namespace {

template <class T>
MEMRING_KERNEL void fill_numbers(T* y, Computed<T> value, int64_t count, bool packed) {
  in_packs<kPack<T>>(count, packed, [&]<int N>(int64_t i) {
    Pack<T, N> all;
    for (T& number : all.of) store(number, value);
    store_pack(y + i, all);
  });
}

template <class T>
MEMRING_KERNEL void scale_numbers(T* y, Computed<T> factor, int64_t count, bool packed) {
  in_packs<kPack<T>>(count, packed, [&]<int N>(int64_t i) {
    auto numbers = load_pack<N>(y + i);
    for (T& number : numbers.of) store(number, computed(number) * factor);
    store_pack(y + i, numbers);
  });
}

template <class T>
MEMRING_KERNEL void add_numbers(T* y, const T* a, const T* b, int64_t count, bool packed) {
  in_packs<kPack<T>>(count, packed, [&]<int N>(int64_t i) {
    auto sum = load_pack<N>(a + i);
    const auto other = load_pack<N>(b + i);
    for (int j = 0; j < N; ++j) store(sum.of[j], computed(sum.of[j]) + computed(other.of[j]));
    store_pack(y + i, sum);
  });
}

template <class T>
Grid grid_of(ConstView<> y) {
  return grid_for(y.size() / kPack<T>);
}

void fill(Queue& queue, View<> y, double value) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<fill_numbers<T>>(queue, grid_of<T>(y), address<T>(y), static_cast<Computed<T>>(value), y.size(), packed(y));
  });
}

void scale(Queue& queue, View<> y, double factor) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<scale_numbers<T>>(queue, grid_of<T>(y), address<T>(y), static_cast<Computed<T>>(factor), y.size(),
                             packed(y));
  });
}

void add(Queue& queue, View<> y, ConstView<> a, ConstView<> b) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<add_numbers<T>>(queue, grid_of<T>(y), address<T>(y), address<T>(a), address<T>(b), y.size(),
                           packed(y, a, b));
  });
}

const ElementwiseKernels kernels{convert, fill, scale, add};

}  // namespace

const ElementwiseKernels* const elementwise_cuda = &kernels;

}  // namespace memring
