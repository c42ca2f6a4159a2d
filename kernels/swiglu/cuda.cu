// Gated activation on a device: one pass each way.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"

namespace memring {
namespace {

template <class T>
MEMRING_KERNEL void swiglu_forward(T* y, const T* gate, const T* up, int64_t count, bool packed) {
  in_packs<kPack<T>>(count, packed, [&]<int N>(int64_t i) {
    const auto gates = load_pack<N>(gate + i);
    auto numbers = load_pack<N>(up + i);
    for (int j = 0; j < N; ++j) {
      const Computed<T> g = computed(gates.of[j]);
      store(numbers.of[j], g / (1 + exp_of(-g)) * computed(numbers.of[j]));
    }
    store_pack(y + i, numbers);
  });
}

template <class T>
MEMRING_KERNEL void swiglu_backward(T* d_gate, T* d_up, T* y, const T* dy, const T* gate, const T* up, int64_t count,
                                    bool packed) {
  in_packs<kPack<T>>(count, packed, [&]<int N>(int64_t i) {
    auto d_ups = load_pack<N>(dy + i), d_gates = load_pack<N>(gate + i), ups = load_pack<N>(up + i);
    for (int j = 0; j < N; ++j) {  // each result in the place of a number that is read once
      const Computed<T> d = computed(d_ups.of[j]), g = computed(d_gates.of[j]), u = computed(ups.of[j]),
                        s = 1 / (1 + exp_of(-g));
      store(d_gates.of[j], d * u * s * (1 + g * (1 - s)));
      store(d_ups.of[j], d * g * s);
      store(ups.of[j], g * s * u);
    }
    store_pack(d_gate + i, d_gates);
    store_pack(d_up + i, d_ups);
    store_pack(y + i, ups);
  });
}

void forward(Queue& queue, View<> y, ConstView<> gate, ConstView<> up) {
  by_stored_type(gate.dtype(), [&]<class T>() {
    launch<swiglu_forward<T>>(queue, grid_for(gate.size() / kPack<T>), address<T>(y), address<T>(gate), address<T>(up),
                              gate.size(), packed(y, gate, up));
  });
}

void backward(Queue& queue, View<> d_gate, View<> d_up, View<> y, ConstView<> dy, ConstView<> gate, ConstView<> up) {
  by_stored_type(gate.dtype(), [&]<class T>() {
    launch<swiglu_backward<T>>(queue, grid_for(gate.size() / kPack<T>), address<T>(d_gate), address<T>(d_up),
                               address<T>(y), address<T>(dy), address<T>(gate), address<T>(up), gate.size(),
                               packed(d_gate, d_up, y, dy, gate, up));
  });
}

const SwiGluKernels kernels{forward, backward};

}  // namespace

const SwiGluKernels* const swiglu_cuda = &kernels;

}  // namespace memring
