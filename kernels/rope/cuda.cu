// Rotary position embedding on a device: angles in double, and one pass that rotates and moves between layouts.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

struct Extents {
  int64_t batch, heads, rows, half, tables;
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

/// One thread for each pair of numbers: by head from by row, or back by the opposite angle.
template <class T, class C>
MEMRING_KERNEL void rotate(T* out, const T* in, const C* cosines, const C* sines, Extents e, bool back) {
  for (int64_t i = grid_index(); i < e.batch * e.heads * e.rows * e.half; i += grid_threads()) {
    const int64_t x = i % e.half, row = i / e.half % e.rows, head = i / e.half / e.rows % e.heads,
                  b = i / e.half / e.rows / e.heads;
    const int64_t by_head = ((b * e.heads + head) * e.rows + row) * 2 * e.half + x,
                  by_row = ((b * e.rows + row) * e.heads + head) * 2 * e.half + x,
                  angle = ((e.tables == 1 ? 0 : b) * e.rows + row) * e.half + x;
    const int64_t from = back ? by_head : by_row, to = back ? by_row : by_head;
    const C c = cosines[angle], s = back ? -sines[angle] : sines[angle];
    const C low = computed(in[from]), high = computed(in[from + e.half]);
    store(out[to], low * c - high * s);
    store(out[to + e.half], high * c + low * s);
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
  const Extents e{by_head.dim(0), by_head.dim(1), by_head.dim(2), by_head.dim(3) / 2, cos.dim(0)};
  by_stored_type(out.dtype(), [&]<class T>() {
    using C = Computed<T>;
    launch<rotate<T, C>>(queue, grid_for(out.size() / 2), address<T>(out), address<T>(in), address<C>(cos),
                         address<C>(sin), e, back);
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
