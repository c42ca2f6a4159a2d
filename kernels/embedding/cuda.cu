// Token embedding on a device.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding/cuda.h"

#include <lane.h>
#include <launch.h>

#include <algorithm>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

constexpr int kWarps = 8;  ///< of a block that sums rows of equal ids

/// A block a row.
template <class T>
MEMRING_KERNEL void embedding_forward(T* y, const T* table, const int32_t* ids, int64_t dim) {
  const int64_t r = block_x();
  for (int64_t i = thread_index(); i < dim; i += block_threads()) y[r * dim + i] = table[ids[r] * dim + i];
}

/// A warp for 32 columns of every id that leaves one remainder: it looks at all ids, 32 at a time, and adds the rows of
/// its own in their order. So nobody else adds to an entry, and each row of dy is read once; the ids are read
/// `remainders` times for each 32 columns, out of the cache.
template <class T, class C>
MEMRING_KERNEL void embedding_backward(C* d_table, const T* dy, const int32_t* ids, int64_t rows, int64_t dim,
                                       int remainders) {
  const int64_t column = block_x() * kWarp + lane_index();
  const auto mine = static_cast<int>(block_y()) * kWarps + warp_index();
  for (int64_t begin = 0; begin < rows; begin += kWarp) {
    const int64_t r = begin + lane_index();
    const int32_t id = r < rows ? ids[r] : -1;
    for (uint32_t found = ballot(id >= 0 && id % remainders == mine); found != 0; found &= found - 1) {
      const int lane = lowest_bit(found);
      const int64_t entry = shuffle(id, lane) * dim + column;
      if (column < dim) d_table[entry] += computed(dy[(begin + lane) * dim + column]);
    }
  }
}

void forward(Queue& queue, View<> y, ConstView<> table, const TokenIds& ids) {
  const int64_t rows = y.dim(0), dim = y.dim(1);
  if (rows == 0 || dim == 0) return;
  by_stored_type(y.dtype(), [&]<class T>() {
    launch<embedding_forward<T>>(queue, Grid{rows, 1, threads_for_row(dim), 0}, address<T>(y), address<T>(table),
                                 ids.ids.data(), dim);
  });
}

void backward(Queue& queue, View<> d_table, ConstView<> dy, const TokenIds& ids) {
  const int64_t rows = dy.dim(0), dim = dy.dim(1);
  if (rows == 0 || dim == 0) return;
  // As many as fill a card with few columns, and each has some rows to add.
  const int64_t groups = std::clamp<int64_t>(rows / 64, 1, 16);
  const Grid grid{(dim + kWarp - 1) / kWarp, groups, kWarps * kWarp, 0};
  by_stored_type(dy.dtype(), [&]<class T>() {
    using C = Computed<T>;
    launch<embedding_backward<T, C>>(queue, grid, address<C>(d_table), address<T>(dy), ids.ids.data(), rows, dim,
                                     static_cast<int>(groups) * kWarps);
  });
}

const EmbeddingKernels kernels{forward, backward};

}  // namespace

const EmbeddingKernels* const embedding_cuda = &kernels;

}  // namespace memring
