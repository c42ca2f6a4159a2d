// Small passes over a device's memory.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/convert.h"
#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

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

const ElementwiseKernels kernels{convert, fill, scale, add};

}  // namespace

const ElementwiseKernels* const elementwise_cuda = &kernels;

}  // namespace memring
