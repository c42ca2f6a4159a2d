// Root-mean-square normalisation on a device: a warp a row; the gain's gradient by columns, rows in a fixed order.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"
#include "kernels/cuda/reduce.h"

namespace memring {
namespace {

constexpr int kRows = 8;        ///< of a block: a warp a row
constexpr int kRowGroups = 32;  ///< warps of a block that sums columns: rows r, r + 32, ... are one warp's

MEMRING_LANE int64_t row_of_warp() { return block_x() * kRows + warp_index(); }

/// N numbers of a row at a time.
template <int N, class T, class C>
MEMRING_KERNEL void rmsnorm_forward(T* y, C* inv_rms, const T* x, const T* gain, int64_t rows, int64_t dim, C eps) {
  const int64_t r = row_of_warp();
  if (r >= rows) return;
  C sum = 0;
  for (int64_t i = N * lane_index(); i < dim; i += N * kWarp) {
    const auto numbers = load_pack<N>(x + r * dim + i);
    for (const T& number : numbers.of) sum += computed(number) * computed(number);
  }
  const C inverse = inverse_root(warp_sum(sum) / static_cast<C>(dim) + eps);
  if (lane_index() == 0) inv_rms[r] = inverse;
  for (int64_t i = N * lane_index(); i < dim; i += N * kWarp) {
    auto numbers = load_pack<N>(x + r * dim + i);
    const auto gains = load_pack<N>(gain + i);
    for (int j = 0; j < N; ++j) store(numbers.of[j], computed(numbers.of[j]) * inverse * computed(gains.of[j]));
    store_pack(y + r * dim + i, numbers);
  }
}

template <int N, class T, class C>
MEMRING_KERNEL void rmsnorm_backward(T* dx, bool accumulate, const T* dy, const T* x, const T* gain, const C* inv_rms,
                                     int64_t rows, int64_t dim) {
  const int64_t r = row_of_warp();
  if (r >= rows) return;
  const C inverse = inv_rms[r];
  C sum = 0;
  for (int64_t i = N * lane_index(); i < dim; i += N * kWarp) {
    const auto dys = load_pack<N>(dy + r * dim + i), xs = load_pack<N>(x + r * dim + i), gains = load_pack<N>(gain + i);
    for (int j = 0; j < N; ++j) sum += computed(dys.of[j]) * computed(gains.of[j]) * computed(xs.of[j]) * inverse;
  }
  const C mean = warp_sum(sum) / static_cast<C>(dim);
  for (int64_t i = N * lane_index(); i < dim; i += N * kWarp) {
    const auto dys = load_pack<N>(dy + r * dim + i), xs = load_pack<N>(x + r * dim + i), gains = load_pack<N>(gain + i);
    Pack<T, N> sums{};
    if (accumulate) sums = load_pack<N>(dx + r * dim + i);
    for (int j = 0; j < N; ++j) {
      const C n = computed(xs.of[j]) * inverse, d = inverse * (computed(dys.of[j]) * computed(gains.of[j]) - n * mean);
      store(sums.of[j], accumulate ? computed(sums.of[j]) + d : d);
    }
    store_pack(dx + r * dim + i, sums);
  }
}

template <class C>
struct ColumnSums {
  C of[kRowGroups][kWarp + 1];
};

/// A block for each 32 columns.
template <class T, class C>
MEMRING_KERNEL void rmsnorm_dgain(C* dgain, const T* dy, const T* x, const C* inv_rms, int64_t rows, int64_t dim) {
  auto& sums = block_memory<ColumnSums<C>>();
  const int64_t column = block_x() * kWarp + lane_index();
  C sum = 0;
  for (int64_t r = warp_index(); r < rows && column < dim; r += kRowGroups)
    sum += computed(dy[r * dim + column]) * (computed(x[r * dim + column]) * inv_rms[r]);
  sums.of[warp_index()][lane_index()] = sum;
  meet_block();
  if (warp_index() != 0 || column >= dim) return;
  C total = 0;
  for (int group = 0; group < kRowGroups; ++group) total += sums.of[group][lane_index()];
  dgain[column] += total;
}

Grid grid_of_rows(int64_t rows) { return {(rows + kRows - 1) / kRows, 1, kRows * kWarp, 0}; }

void forward(Queue& queue, View<> y, View<> inv_rms, ConstView<> x, ConstView<> gain, double eps) {
  if (x.dim(0) == 0) return;
  by_stored_type(x.dtype(), [&]<class T>() {
    by_pack<T>(x.dim(1), packed(y, x, gain), [&]<int N>() {
      using C = Computed<T>;
      launch<rmsnorm_forward<N, T, C>>(queue, grid_of_rows(x.dim(0)), address<T>(y), address<C>(inv_rms), address<T>(x),
                                       address<T>(gain), x.dim(0), x.dim(1), static_cast<C>(eps));
    });
  });
}

void backward(Queue& queue, View<> dx, Write write, View<> dgain, ConstView<> dy, ConstView<> x, ConstView<> gain,
              ConstView<> inv_rms) {
  const int64_t rows = x.dim(0), dim = x.dim(1);
  if (rows == 0) return;
  by_stored_type(x.dtype(), [&]<class T>() {
    using C = Computed<T>;
    // First: dx may be dy.
    if (dgain) {
      const Grid columns{(dim + kWarp - 1) / kWarp, 1, kRowGroups * kWarp, sizeof(ColumnSums<C>)};
      launch<rmsnorm_dgain<T, C>>(queue, columns, address<C>(dgain), address<T>(dy), address<T>(x), address<C>(inv_rms),
                                  rows, dim);
    }
    by_pack<T>(dim, packed(dx, dy, x, gain), [&]<int N>() {
      launch<rmsnorm_backward<N, T, C>>(queue, grid_of_rows(rows), address<T>(dx), write == Write::Accumulate,
                                        address<T>(dy), address<T>(x), address<T>(gain), address<C>(inv_rms), rows,
                                        dim);
    });
  });
}

const RmsNormKernels kernels{forward, backward};

}  // namespace

const RmsNormKernels* const rmsnorm_cuda = &kernels;

}  // namespace memring
