// Small passes over a device's memory.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

template <class To, class From>
MEMRING_KERNEL void copy_numbers(To* y, const From* x, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) store(y[i], computed(x[i]));
}

template <class T>
MEMRING_KERNEL void fill_numbers(T* y, Computed<T> value, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) store(y[i], value);
}

template <class T>
MEMRING_KERNEL void scale_numbers(T* y, Computed<T> factor, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) store(y[i], computed(y[i]) * factor);
}

template <class T>
MEMRING_KERNEL void add_numbers(T* y, const T* a, const T* b, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) store(y[i], computed(a[i]) + computed(b[i]));
}

void copy(Queue& queue, View<> y, ConstView<> x) {
  const Grid grid = grid_for(y.size());
  if (y.dtype() == DType::BF16 && x.dtype() == DType::F32)
    return launch<copy_numbers<Bf16, float>>(queue, grid, address<Bf16>(y), address<float>(x), y.size());
  if (y.dtype() == DType::F32 && x.dtype() == DType::BF16)
    return launch<copy_numbers<float, Bf16>>(queue, grid, address<float>(y), address<Bf16>(x), y.size());
  by_stored_type(y.dtype(),
                 [&]<class T>() { launch<copy_numbers<T, T>>(queue, grid, address<T>(y), address<T>(x), y.size()); });
}

void fill(Queue& queue, View<> y, double value) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<fill_numbers<T>>(queue, grid_for(y.size()), address<T>(y), static_cast<Computed<T>>(value), y.size());
  });
}

void scale(Queue& queue, View<> y, double factor) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<scale_numbers<T>>(queue, grid_for(y.size()), address<T>(y), static_cast<Computed<T>>(factor), y.size());
  });
}

void add(Queue& queue, View<> y, ConstView<> a, ConstView<> b) {
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<add_numbers<T>>(queue, grid_for(y.size()), address<T>(y), address<T>(a), address<T>(b), y.size());
  });
}

const ElementwiseKernels kernels{copy, fill, scale, add};

}  // namespace

const ElementwiseKernels* const elementwise_cuda = &kernels;

}  // namespace memring
