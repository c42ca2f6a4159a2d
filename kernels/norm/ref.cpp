// Sum of squares, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/ref.h"

#include <algorithm>

namespace memring::reference {

template <class T>
void squared_norms(std::span<double> sums, const T* x, int64_t count, int64_t block) {
  for (double& sum : sums) {
    const int64_t size = std::min(block, count);
    sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    x += size;
    count -= size;
  }
}

template void squared_norms(std::span<double>, const float*, int64_t, int64_t);
template void squared_norms(std::span<double>, const double*, int64_t, int64_t);

}  // namespace memring::reference
