// Moving rows on a device: a block a row of `to`. The lists are the host's: a launch takes them by value, as ranges.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/cuda.h"

#include <lane.h>
#include <launch.h>

#include "kernels/cuda/packs.h"

namespace memring {
namespace {

/// Row to + i takes row from + i, for i < rows.
struct Range {
  int32_t to, from, rows;

  MEMRING_LANE bool has(int32_t row) const { return row >= to && row - to < rows; }
};

/// A part of the lists, in their order. (A kernel's arguments may take 4 KiB.)
struct Ranges {
  static constexpr int kMost = 320;
  int32_t count = 0, rows = 0;
  Range of[kMost];

  /// From pair `begin` of the lists on, as far as there is room: to the pair that is returned.
  size_t take(std::span<const int32_t> to, std::span<const int32_t> from, size_t begin) {
    count = rows = 0;
    size_t i = begin;
    for (; i < to.size(); ++i, ++rows) {
      Range* const last = count > 0 ? &of[count - 1] : nullptr;
      if (last && to[i] == last->to + last->rows && from[i] == last->from + last->rows)
        ++last->rows;
      else if (count < kMost)
        of[count++] = {to[i], from[i], 1};
      else
        break;
    }
    return i;
  }
};

/// Rows of `from` that one row of `to` takes: those of `sums` sequences, one after the other.
struct Extents {
  int64_t dim, to_step, from_step, sums;
};

/// A row that is in several ranges is the first one's block's, which goes through all of them in order.
template <int N, class To, class From>
MEMRING_KERNEL void move_rows(To* to, const From* from, Ranges ranges, Extents e, bool accumulate) {
  const int64_t sequence = block_x() / ranges.rows;
  auto row = static_cast<int32_t>(block_x() % ranges.rows);
  int first = 0;
  while (row >= ranges.of[first].rows) row -= ranges.of[first++].rows;
  row += ranges.of[first].to;
  for (int i = 0; i < first; ++i)
    if (ranges.of[i].has(row)) return;
  To* const y = to + sequence * e.to_step + row * e.dim;
  const From* const x = from + sequence * e.from_step;
  for (int64_t c = N * thread_index(); c < e.dim; c += N * block_threads()) {
    Computed<To> values[N] = {};
    if (accumulate) {
      const auto before = load_pack<N>(y + c);
      for (int j = 0; j < N; ++j) values[j] = computed(before.of[j]);
    }
    for (int64_t s = 0; s < e.sums; ++s)
      for (int i = first; i < ranges.count; ++i)
        if (ranges.of[i].has(row)) {
          const auto terms =
              load_pack<N>(x + s * e.from_step + (ranges.of[i].from + (row - ranges.of[i].to)) * e.dim + c);
          for (int j = 0; j < N; ++j) {
            const Computed<To> term = computed(terms.of[j]);
            values[j] = accumulate ? values[j] + term : term;
          }
        }
    Pack<To, N> after;
    for (int j = 0; j < N; ++j) store(after.of[j], values[j]);
    store_pack(y + c, after);
  }
}

/// In as many launches as the lists need: later pairs of rows come later.
void move(Queue& queue, View<> to, std::span<const int32_t> to_rows, ConstView<> from,
          std::span<const int32_t> from_rows, int64_t sequences, const Extents& e, bool accumulate) {
  if (e.dim == 0 || sequences == 0) return;
  Ranges ranges;
  for (size_t i = 0; i < to_rows.size();) {
    i = ranges.take(to_rows, from_rows, i);
    by_stored_types(to.dtype(), from.dtype(), [&]<class To, class From>() {
      by_pack<To, From>(e.dim, packed(to, from), [&]<int N>() {
        const Grid grid{sequences * ranges.rows, 1, threads_for_row(e.dim / N), 0};
        launch<move_rows<N, To, From>>(queue, grid, address<To>(to), address<From>(from), ranges, e, accumulate);
      });
    });
  }
}

void run(Queue& queue, View<> to, std::span<const int32_t> to_rows, Write write, ConstView<> from,
         std::span<const int32_t> from_rows) {
  const int64_t dim = to.dim(2);
  const Extents e{dim, to.dim(1) * dim, from.shape().rank() == 3 ? from.dim(1) * dim : 0, 1};
  move(queue, to, to_rows, from, from_rows, to.dim(0), e, write == Write::Accumulate);
}

// All sequences at once where one launch takes the lists; else one by one, since a row may come again in another.
void sum(Queue& queue, View<> to, std::span<const int32_t> to_rows, ConstView<> from,
         std::span<const int32_t> from_rows) {
  const bool one_launch = Ranges().take(to_rows, from_rows, 0) == to_rows.size();
  const int64_t batch = from.dim(0), at_once = one_launch ? batch : 1, dim = to.dim(1);
  for (int64_t b = 0; b < batch; b += at_once)
    move(queue, to, to_rows, from.rows(b, at_once), from_rows, 1, {dim, 0, from.dim(1) * dim, at_once}, true);
}

const MoveRowsKernels kernels{run, sum};

}  // namespace

const MoveRowsKernels* const rows_cuda = &kernels;

}  // namespace memring
