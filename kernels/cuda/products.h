// Matrix products for operators on a device: cuBLASLt on a GPU (kernels/cuda/gpu), plain loops on fibers
// (kernels/cuda/fiber). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring {

/// A factor of a product: a dense matrix [rows, columns], or its transpose.
struct Factor {
  ConstView<> stored;
  bool transposed = false;

  int64_t rows() const { return stored.dim(transposed ? 1 : 0); }
  int64_t columns() const { return stored.dim(transposed ? 0 : 1); }
};
inline Factor transposed(ConstView<> stored) { return {stored, true}; }

/// c [m, n] = (+=) a b with a [m, k] and b [k, n], enqueued. m == 0 or n == 0 does nothing; k == 0 is an empty sum
/// (Overwrite writes zeros). c must not be a factor.
///
/// fp32 or fp64, all alike; or factors in bf16, and c in bf16, rounded once, or fp32. Sums are fp32 for bf16, and in an
/// order that the shapes decide. With Products::Bf16 factors in fp32 are rounded to bf16.
void matrix_product(Queue&, View<> c, Write, const Factor& a, const Factor& b);

}  // namespace memring
