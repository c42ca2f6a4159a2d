// Layout change between projections and attention on a device: one pass each way.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

/// out [a, c, b, width] · in [a, b, c, width]: both directions, with rows and heads in either place.
template <class T>
MEMRING_KERNEL void swap_middle(T* out, const T* in, int64_t a, int64_t b, int64_t c, int64_t width) {
  for (int64_t i = grid_index(); i < a * b * c * width; i += grid_threads()) {
    const int64_t x = i % width, at_b = i / width % b, at_c = i / width / b % c, at_a = i / width / b / c;
    out[i] = in[((at_a * b + at_b) * c + at_c) * width + x];
  }
}

void swap(Queue& queue, View<> out, ConstView<> in, int64_t a, int64_t b, int64_t c, int64_t width) {
  by_stored_type(out.dtype(), [&]<class T>() {
    launch<swap_middle<T>>(queue, grid_for(out.size()), address<T>(out), address<T>(in), a, b, c, width);
  });
}

void split(Queue& queue, View<> out, ConstView<> in) {
  swap(queue, out, in, out.dim(0), out.dim(2), out.dim(1), out.dim(3));
}

void merge(Queue& queue, View<> out, ConstView<> in) {
  swap(queue, out, in, in.dim(0), in.dim(1), in.dim(2), in.dim(3));
}

const HeadsKernels kernels{split, merge};

}  // namespace

const HeadsKernels* const heads_cuda = &kernels;

}  // namespace memring
