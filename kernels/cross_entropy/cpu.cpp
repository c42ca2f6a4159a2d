// Output head and loss: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/cpu.h"

#include <algorithm>
#include <cmath>

#include "base/ids.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/cross_entropy/loops.h"

namespace memring::cpu {
namespace {

/// Each chunk reads the weights and adds to their gradient once, so it must be long enough for that to cost little
/// beside its products: with 256 rows a vocabulary of 32,000 takes 9 % more, and with the few that would stay in the
/// cache a whole training step takes twice as long. (Canonical blocks are no longer, and divide it.)
constexpr int64_t kChunk = 512;

struct Head {
  Queue& queue;
  float *nll, *d_hidden;  ///< no gradients where d_hidden is null
  View<> d_weight;
  const float *hidden, *weight;
  const int32_t* targets;
  CrossEntropyExtents extent;
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
    if (d_weight) sum_row_products(queue, vocab, dim, rows, logits, h, Write::Accumulate, d_weight, first + begin);
  }

  void run(float* logits) const {
    for (int64_t begin = 0, rows = 0; begin < extent.rows; begin += rows) {
      const int64_t number = begin + (queue.block() > 0 ? first : 0);
      rows = std::min(kChunk - number % kChunk, extent.rows - begin);
      chunk(begin, rows, logits);
      queue.poll();
    }
  }
};

}  // namespace

int64_t cross_entropy_chunk(int64_t rows) { return std::min(rows, kChunk); }

void cross_entropy_forward(Queue& queue, float* nll, const float* hidden, const float* weight, const int32_t* targets,
                           CrossEntropyExtents extent, float* logits, int64_t first) {
  Head{queue, nll, nullptr, {}, hidden, weight, targets, extent, first}.run(logits);
}

void cross_entropy_forward_backward(Queue& queue, float* nll, float* d_hidden, View<> d_weight, const float* hidden,
                                    const float* weight, const int32_t* targets, CrossEntropyExtents extent,
                                    float* logits, int64_t first) {
  Head{queue, nll, d_hidden, d_weight, hidden, weight, targets, extent, first}.run(logits);
}

}  // namespace memring::cpu
