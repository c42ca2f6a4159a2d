// Feature map and associative memory: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/associative/associative.h"

namespace memring::reference {

template <class T>
void dpfp_forward(T* phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu);
template <class T>
void dpfp_backward(T* dx, const T* d_phi, const T* x, int64_t rows, int64_t key_dim, int64_t nu);

struct MemoryExtent {
  int64_t rows, keys, dim;
  Products products;
};

/// A state, or its gradient; null pointers: zero, or not wanted.
template <class T>
struct MemoryState {
  T *A, *z;  // [keys, dim], [keys]
};

template <class T>
struct MemoryRows {
  T *k, *v, *gate;  // [rows, keys], [rows, dim], [rows]
};

template <class T>
void memory_read(T* y, T* phi, MemoryState<const T> state, Associative::Smallest&, MemoryExtent);
template <class T>
void memory_read_backward(T* d_phi, MemoryState<T> d_state, const T* dy, T* phi, MemoryState<const T> state,
                          MemoryExtent);

/// delta [rows, dim] is scratch.
template <class T>
void memory_write(MemoryState<T> new_state, MemoryRows<const T>, MemoryState<const T> state, T* delta,
                  Associative::Smallest&, MemoryExtent);
/// old [rows, dim] and d_den [rows] are scratch.
template <class T>
void memory_write_backward(MemoryRows<T> d, MemoryState<T> d_state, MemoryState<const T> d_new, MemoryRows<const T>,
                           MemoryState<const T> state, T* old, T* d_den, MemoryExtent);

}  // namespace memring::reference
