// Output head and loss: their extents, as every backend takes them. Private to kernels/cross_entropy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

struct CrossEntropyExtents {
  int64_t rows, dim, vocab;
  double flops() const { return 2.0 * static_cast<double>(rows * dim * vocab); }  // of one product
};

}  // namespace memring
