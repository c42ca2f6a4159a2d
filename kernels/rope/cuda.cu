// Rotary position embedding on a device: angles in double, and one pass that rotates and moves between layouts.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"

namespace memring {
namespace {

constexpr int kThreads = 256;  ///< of a row, at the most

struct Extents {
  int64_t rows, tables;
  int heads, half;
};

template <class T>
MEMRING_KERNEL void rope_table(T* cosines, T* sines, const int32_t* positions, const double* inverse, double factor,
                               int64_t rows, int64_t half) {
  for (int64_t i = grid_index(); i < rows * half; i += grid_threads()) {
    const double angle = positions[i / half] * inverse[i % half];
    cosines[i] = static_cast<T>(factor * cos(angle));
    sines[i] = static_cast<T>(factor * sin(angle));
  }
}

/// A block a row of the projections' layout, [batch * rows, heads * 2 half], a thread N pairs of numbers at a time: by
/// head from by row, or back by the opposite angle. (kernels/heads: why not one index over everything.)
template <int N, class T, class C>
MEMRING_KERNEL void rotate(T* out, const T* in, const C* cosines, const C* sines, Extents e, bool back) {
  const int64_t b = block_x() / e.rows, row = block_x() % e.rows, width = 2 * e.half;
  const int64_t angles = ((e.tables == 1 ? 0 : b) * e.rows + row) * e.half;
  for (int i = N * thread_index(); i < e.heads * e.half; i += N * block_threads()) {
    const int head = i / e.half, x = i % e.half;
    const int64_t by_head = ((b * e.heads + head) * e.rows + row) * width + x,
                  by_row = (block_x() * e.heads + head) * width + x;
    const int64_t from = back ? by_head : by_row, to = back ? by_row : by_head;
    const auto c = load_pack<N>(cosines + angles + x), sine = load_pack<N>(sines + angles + x);
    auto low = load_pack<N>(in + from), high = load_pack<N>(in + from + e.half);
    for (int j = 0; j < N; ++j) {
      const C s = back ? -sine.of[j] : sine.of[j], first = computed(low.of[j]), second = computed(high.of[j]);
      store(low.of[j], first * c.of[j] - second * s);
      store(high.of[j], second * c.of[j] + first * s);
    }
    store_pack(out + to, low);
    store_pack(out + to + e.half, high);
  }
}

void table(Queue& queue, View<> cos, View<> sin, const TokenIds& positions, ConstView<double> inverse, double factor) {
  const int64_t rows = cos.dim(0) * cos.dim(1), half = cos.dim(2);
  const auto run = [&]<class T>() {
    launch<rope_table<T>>(queue, grid_for(rows * half), address<T>(cos), address<T>(sin), positions.ids.data(),
                          inverse.data(), factor, rows, half);
  };
  cos.dtype() == DType::F64 ? run.template operator()<double>() : run.template operator()<float>();
}

void run(Queue& queue, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin, ConstView<> by_head, bool back) {
  if (out.size() == 0) return;
  const int64_t heads = by_head.dim(1), rows = by_head.dim(2), half = by_head.dim(3) / 2;
  const Extents e{rows, cos.dim(0), static_cast<int>(heads), static_cast<int>(half)};
  by_stored_type(out.dtype(), [&]<class T>() {
    by_pack<T>(half, packed(out, in, cos, sin), [&]<int N>() {
      using C = Computed<T>;
      const Grid grid{by_head.dim(0) * rows, 1, grid_for(heads * half / N, kThreads).threads, 0};
      launch<rotate<N, T, C>>(queue, grid, address<T>(out), address<T>(in), address<C>(cos), address<C>(sin), e, back);
    });
  });
}

void forward(Queue& queue, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin) {
  run(queue, out, in, cos, sin, out, false);
}

void backward(Queue& queue, View<> d_in, ConstView<> d_out, ConstView<> cos, ConstView<> sin) {
  run(queue, d_in, d_out, cos, sin, d_out, true);
}

const RopeKernels kernels{table, forward, backward};

}  // namespace

const RopeKernels* const rope_cuda = &kernels;

}  // namespace memring
