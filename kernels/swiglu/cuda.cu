// Gated activation on a device: one pass each way.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

template <class T>
MEMRING_KERNEL void swiglu_forward(T* y, const T* gate, const T* up, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) {
    const Computed<T> g = computed(gate[i]);
    store(y[i], g / (1 + exp_of(-g)) * computed(up[i]));
  }
}

template <class T>
MEMRING_KERNEL void swiglu_backward(T* d_gate, T* d_up, T* y, const T* dy, const T* gate, const T* up, int64_t count) {
  for (int64_t i = grid_index(); i < count; i += grid_threads()) {
    const Computed<T> d = computed(dy[i]), g = computed(gate[i]), u = computed(up[i]), s = 1 / (1 + exp_of(-g));
    store(d_gate[i], d * u * s * (1 + g * (1 - s)));
    store(d_up[i], d * g * s);
    store(y[i], g * s * u);
  }
}

void forward(Queue& queue, View<> y, ConstView<> gate, ConstView<> up) {
  by_stored_type(gate.dtype(), [&]<class T>() {
    launch<swiglu_forward<T>>(queue, grid_for(gate.size()), address<T>(y), address<T>(gate), address<T>(up),
                              gate.size());
  });
}

void backward(Queue& queue, View<> d_gate, View<> d_up, View<> y, ConstView<> dy, ConstView<> gate, ConstView<> up) {
  by_stored_type(gate.dtype(), [&]<class T>() {
    launch<swiglu_backward<T>>(queue, grid_for(gate.size()), address<T>(d_gate), address<T>(d_up), address<T>(y),
                               address<T>(dy), address<T>(gate), address<T>(up), gate.size());
  });
}

const SwiGluKernels kernels{forward, backward};

}  // namespace

const SwiGluKernels* const swiglu_cuda = &kernels;

}  // namespace memring
