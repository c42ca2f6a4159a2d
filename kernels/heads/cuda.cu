// Layout change between projections and attention on a device: one pass each way.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"

namespace memring {
namespace {

constexpr int kThreads = 256;  ///< of a row, at the most

/// A block a row of the projections' layout, [batch * rows, heads * width]: a division of 32 bits for each number is
/// all that finds its place, where one index over everything takes three of 64 bits, and so several times as long as
/// memory.
template <class T>
MEMRING_KERNEL void move_heads(T* out, const T* in, int64_t rows, int heads, int width, bool split) {
  const int64_t by_row = block_x() * heads * width,
                by_head = (block_x() / rows * heads * rows + block_x() % rows) * width, of_head = rows * width;
  for (int i = thread_index(); i < heads * width; i += block_threads()) {
    const int64_t here = by_row + i, there = by_head + i / width * of_head + i % width;
    out[split ? there : here] = in[split ? here : there];
  }
}

void move(Queue& queue, View<> out, ConstView<> in, ConstView<> by_head, bool split) {
  if (out.size() == 0) return;
  const int64_t batch = by_head.dim(0), heads = by_head.dim(1), rows = by_head.dim(2), width = by_head.dim(3);
  by_stored_type(out.dtype(), [&]<class T>() {
    const auto as = [&]<class U>() {
      const int64_t units = width * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(U));
      const Grid grid{batch * rows, 1, grid_for(heads * units, kThreads).threads, 0};
      launch<move_heads<U>>(queue, grid, static_cast<U*>(out.data()), static_cast<const U*>(in.data()), rows,
                            static_cast<int>(heads), static_cast<int>(units), split);
    };
    if (width % kPack<T> == 0 && packed(out, in)) return as.template operator()<Pack<T, kPack<T>>>();
    as.template operator()<T>();
  });
}

void split(Queue& queue, View<> out, ConstView<> in) { move(queue, out, in, out, true); }

void merge(Queue& queue, View<> out, ConstView<> in) { move(queue, out, in, in, false); }

const HeadsKernels kernels{split, merge};

}  // namespace

const HeadsKernels* const heads_cuda = &kernels;

}  // namespace memring
