// Output head and loss: checks, the choice of reference or fast path, and the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/cross_entropy/loops.h"
#include "kernels/cross_entropy/ref.h"

namespace memring {
namespace {

using reference::HeadExtent;

/// Rows whose logits exist at a time. Each chunk reads the weights and adds to their gradient once, so it must be long
/// enough for that to cost little beside its products: with 256 rows a vocabulary of 32,000 takes 9 % more, and with
/// the few that would stay in the cache a whole training step takes twice as long.
/// (Canonical blocks are no longer, and divide it.)
constexpr int64_t kChunk = 512;
int64_t chunk_rows(DType dtype, int64_t rows) { return std::min<int64_t>(rows, dtype == DType::F64 ? 1 : kChunk); }

HeadExtent extent_of(ConstView<> nll, ConstView<> hidden, ConstView<> weight, ConstView<int32_t> targets) {
  const DType dtype = expect_float(hidden, 2, "CrossEntropy hidden");
  expect_float(weight, 2, "CrossEntropy weight");
  const HeadExtent e{hidden.dim(0), hidden.dim(1), weight.dim(0)};
  expect(weight, dtype, {e.vocab, e.dim}, "CrossEntropy weight");
  expect(nll, dtype, {e.rows}, "CrossEntropy nll");
  expect_shape(targets, {e.rows}, "CrossEntropy targets");
  expect_ids(targets, e.vocab, kIgnoredTarget, "target");
  return e;
}

struct Head {
  Queue& queue;
  float *nll, *d_hidden;  ///< no gradients where d_hidden is null
  View<> d_weight;
  const float *hidden, *weight;
  const int32_t* targets;
  HeadExtent extent;
  int64_t first;

  /// Rows [begin, begin + rows); `logits` [rows, vocab] is scratch.
  void chunk(int64_t begin, int64_t rows, float* logits) const {
    const int64_t dim = extent.dim, vocab = extent.vocab;
    const int32_t* const target = targets + begin;
    const float* const h = hidden + begin * dim;
    if (std::all_of(target, target + rows, [](int32_t t) { return t == kIgnoredTarget; })) {
      std::fill_n(nll + begin, rows, 0.0f);
      if (d_hidden) std::fill_n(d_hidden + begin * dim, rows * dim, 0.0f);
      return;
    }
    row_product(queue, Transpose::Yes, rows, vocab, dim, h, weight, dim, Write::Overwrite, logits, first + begin);
    const CrossEntropyLoops& loops = MEMRING_LOOPS(queue, cross_entropy_loops);
    parallel_for(threads_for(queue, rows * vocab), rows, [&](int64_t r) {
      float* const row = logits + r * vocab;
      if (target[r] == kIgnoredTarget) {
        nll[begin + r] = 0;
        if (d_hidden) std::fill_n(row, vocab, 0.0f);
        return;
      }
      const float wanted = row[target[r]];
      const LogSum s = d_hidden ? loops.exponentials(row, vocab) : loops.log_sum(row, vocab);
      nll[begin + r] = static_cast<float>(std::log(s.sum) + (double(s.largest) - wanted));
      if (!d_hidden) return;
      loops.scale(row, static_cast<float>(1 / s.sum), vocab);
      row[target[r]] -= 1;
    });
    if (!d_hidden) return;
    row_product(queue, Transpose::No, rows, dim, vocab, logits, weight, dim, Write::Overwrite, d_hidden + begin * dim,
                first + begin);
    sum_row_products(queue, vocab, dim, rows, logits, h, Write::Accumulate, d_weight, first + begin);
  }

  void run(Arena& scratch) const {
    ArenaScope scope(scratch);
    float* const logits = scratch.take<float>({chunk_rows(DType::F32, extent.rows), extent.vocab}).data();
    for (int64_t begin = 0, rows = 0; begin < extent.rows; begin += rows) {
      const int64_t number = begin + (queue.block() > 0 ? first : 0);
      rows = std::min(kChunk - number % kChunk, extent.rows - begin);
      chunk(begin, rows, logits);
      queue.poll();
    }
  }
};

}  // namespace

int64_t CrossEntropy::scratch_bytes(DType dtype, int64_t rows, int64_t vocab) {
  Arena measure;
  measure.take(dtype, {chunk_rows(dtype, rows), vocab});
  return measure.peak();
}

void CrossEntropy::forward(Queue& queue, View<> nll, ConstView<> hidden, ConstView<> weight, ConstView<int32_t> targets,
                           Arena& scratch, int64_t first) {
  const HeadExtent e = extent_of(nll, hidden, weight, targets);
  const Timed timed(queue, "CrossEntropy forward", e.flops(), hidden, weight);
  if (queue.reference(hidden.dtype()))
    return by_float_type(hidden.dtype(), [&]<class T>() {
      ArenaScope scope(scratch);
      T* logits = scratch.take<T>({std::min<int64_t>(e.rows, 1), e.vocab}).data();
      in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
        reference::cross_entropy_forward(nll.as<T>() + begin, hidden.as<T>() + begin * e.dim, weight.as<T>(),
                                         targets.data() + begin, {count, e.dim, e.vocab}, logits, queue.products());
      });
    });
  Head{queue, nll.as<float>(), nullptr, {}, hidden.as<float>(), weight.as<float>(), targets.data(), e, first}.run(
      scratch);
}

void CrossEntropy::forward_backward(Queue& queue, View<> nll, View<> d_hidden, View<> d_weight, ConstView<> hidden,
                                    ConstView<> weight, ConstView<int32_t> targets, Arena& scratch, int64_t first) {
  const HeadExtent e = extent_of(nll, hidden, weight, targets);
  expect(d_hidden, hidden.dtype(), {e.rows, e.dim}, "CrossEntropy d_hidden");
  expect_sums(d_weight, hidden.dtype(), {e.vocab, e.dim}, "CrossEntropy d_weight");
  if (e.rows > 0 && e.dim > 0) check(d_hidden.data() != hidden.data(), "CrossEntropy: d_hidden must not be hidden");
  const Timed timed(queue, "CrossEntropy forward and backward", 3 * e.flops(), hidden, weight, d_hidden, d_weight);
  if (queue.reference(hidden.dtype()))
    return by_float_type(hidden.dtype(), [&]<class T>() {
      ArenaScope scope(scratch);
      T* logits = scratch.take<T>({std::min<int64_t>(e.rows, 1), e.vocab}).data();
      add_rows<T>(queue, d_weight, e.rows, first, [&](T* terms, int64_t begin, int64_t count) {
        in_pieces(queue, count, [&](int64_t piece, int64_t rows) {
          const int64_t row = begin + piece, at = row * e.dim;
          reference::cross_entropy_forward_backward(nll.as<T>() + row, d_hidden.as<T>() + at, terms,
                                                    hidden.as<T>() + at, weight.as<T>(), targets.data() + row,
                                                    {rows, e.dim, e.vocab}, logits, queue.products());
        });
      });
    });
  Head{
      queue, nll.as<float>(), d_hidden.as<float>(), d_weight, hidden.as<float>(), weight.as<float>(), targets.data(), e,
      first}
      .run(scratch);
}

}  // namespace memring
