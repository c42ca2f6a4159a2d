// Associative memory: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/associative/associative.h"
#include "kernels/associative/operands.h"

namespace memring::reference {

template <class T>
void associative_read(T* y, T* phi, AssociativeState<const T> state, AssociativeSmallest, AssociativeExtents);
template <class T>
void associative_read_backward(T* d_phi, AssociativeState<T> d_state, const T* dy, T* phi,
                               AssociativeState<const T> state, AssociativeExtents);

/// delta [rows, dim] is scratch.
template <class T>
void associative_write(AssociativeState<T> new_state, AssociativeRows<const T>, AssociativeState<const T> state,
                       T* delta, AssociativeSmallest, AssociativeExtents);
/// old [rows, dim] and d_den [rows] are scratch.
template <class T>
void associative_write_backward(AssociativeRows<T> d, AssociativeState<T> d_state, AssociativeState<const T> d_new,
                                AssociativeRows<const T>, AssociativeState<const T> state, T* old, T* d_den,
                                AssociativeExtents);

}  // namespace memring::reference
