// Moving rows: the reference on plain pointers. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "kernels/common/write.h"

namespace memring::reference {

/// Columns [begin, end) of rows that are `dim` wide.
struct Columns {
  int64_t begin, end, dim;
};

template <class T>
void move_rows(T* to, std::span<const int32_t> to_rows, Write write, const T* from, std::span<const int32_t> from_rows,
               Columns columns);

}  // namespace memring::reference
