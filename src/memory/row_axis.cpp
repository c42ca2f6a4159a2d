// SPDX-License-Identifier: Apache-2.0
#include "memory/row_axis.h"

#include "kernels/elementwise/elementwise.h"

namespace memring {

void LocalRows::collect(Queue& queue, View<> all, ConstView<> mine, std::span<const int32_t> wanted) {
  for (int64_t b = 0; b < mine.dim(0); ++b)
    for (size_t i = 0; i < wanted.size(); ++i)
      Elementwise::copy(queue, all.at(b).at(static_cast<int64_t>(i)), mine.at(b).at(wanted[i]));
}

}  // namespace memring
