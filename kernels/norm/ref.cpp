// Sum of squares, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/ref.h"

namespace memring::reference {

template <class T>
double squared_norm(const T* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

template double squared_norm(const float*, int64_t);
template double squared_norm(const double*, int64_t);

}  // namespace memring::reference
