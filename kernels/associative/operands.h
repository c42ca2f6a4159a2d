// Associative memory: its extents and operands, as every backend takes them. Private to kernels/associative.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

struct AssociativeExtents {
  int64_t rows, keys, dim;
  Products products;
};

/// Where the smallest |k|² and denominator are noted.
struct AssociativeSmallest {
  double *key, *denominator;
};

/// A state, or its gradient; null pointers: zero, or not wanted.
template <class T>
struct AssociativeState {
  T *A, *z;  // [keys, dim], [keys]
};

template <class T>
struct AssociativeRows {
  T *k, *v, *gate;  // [rows, keys], [rows, dim], [rows]
};

}  // namespace memring
