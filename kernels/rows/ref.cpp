// Moving rows, reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/ref.h"

namespace memring::reference {

template <class T>
void move_rows(T* to, std::span<const int32_t> to_rows, Write write, const T* from, std::span<const int32_t> from_rows,
               Columns columns) {
  for (size_t i = 0; i < to_rows.size(); ++i) {
    T* const y = to + to_rows[i] * columns.dim;
    const T* const x = from + from_rows[i] * columns.dim;
    for (int64_t c = columns.begin; c < columns.end; ++c) y[c] = write == Write::Accumulate ? y[c] + x[c] : x[c];
  }
}

template void move_rows(float*, std::span<const int32_t>, Write, const float*, std::span<const int32_t>, Columns);
template void move_rows(double*, std::span<const int32_t>, Write, const double*, std::span<const int32_t>, Columns);

}  // namespace memring::reference
