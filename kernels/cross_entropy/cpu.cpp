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

/// Whether no target of the rows counts; then they are done.
bool skip_uncounted(const int32_t* targets, int64_t rows, float* nll, float* d_hidden, int64_t dim) {
  if (!std::all_of(targets, targets + rows, [](int32_t t) { return t == kIgnoredTarget; })) return false;
  std::fill_n(nll, rows, 0.0f);
  if (d_hidden) std::fill_n(d_hidden, rows * dim, 0.0f);
  return true;
}

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
    if (skip_uncounted(target, rows, nll + begin, d_hidden ? d_hidden + begin * dim : nullptr, dim)) return;
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
};

/// chunk(begin, rows) for all rows in turn.
template <class F>
void in_chunks(Queue& queue, int64_t all, int64_t first, const F& chunk) {
  for (int64_t begin = 0, rows = 0; begin < all; begin += rows) {
    const int64_t number = begin + (queue.block() > 0 ? first : 0);
    rows = std::min(kCrossEntropyChunk - number % kCrossEntropyChunk, all - begin);
    chunk(begin, rows);
    queue.poll();
  }
}

/// The row of the student's logits becomes their gradient, and the teacher's is spent.
float distil_row(const CrossEntropyLoops& loops, float* student, float* teacher, int32_t target, double share,
                 int64_t vocab) {
  const float wanted = student[target];
  const TeacherSum p = loops.teach(teacher, student, vocab);
  const LogSum q = loops.exponentials(student, vocab);
  const double log_q = q.largest + std::log(q.sum), log_p = p.teacher.largest + std::log(p.teacher.sum);
  loops.scale(student, static_cast<float>(1 / q.sum), vocab);
  loops.subtract(student, teacher, static_cast<float>(share / p.teacher.sum), vocab);
  student[target] -= static_cast<float>(1 - share);
  return static_cast<float>((1 - share) * (log_q - wanted) + share * (p.gap / p.teacher.sum - log_p + log_q));
}

}  // namespace

void cross_entropy_forward(Queue& queue, float* nll, const float* hidden, const float* weight, const int32_t* targets,
                           CrossEntropyExtents extent, float* logits, int64_t first) {
  const Head head{queue, nll, nullptr, {}, hidden, weight, targets, extent, first};
  in_chunks(queue, extent.rows, first, [&](int64_t begin, int64_t rows) { head.chunk(begin, rows, logits); });
}

void cross_entropy_forward_backward(Queue& queue, float* nll, float* d_hidden, View<> d_weight, const float* hidden,
                                    const float* weight, const int32_t* targets, CrossEntropyExtents extent,
                                    float* logits, int64_t first) {
  const Head head{queue, nll, d_hidden, d_weight, hidden, weight, targets, extent, first};
  in_chunks(queue, extent.rows, first, [&](int64_t begin, int64_t rows) { head.chunk(begin, rows, logits); });
}

void cross_entropy_distil(Queue& queue, float* loss, float* d_hidden, const float* hidden, const float* taught,
                          double share, const float* weight, const int32_t* targets, CrossEntropyExtents extent,
                          float* logits, int64_t first) {
  const int64_t dim = extent.dim, vocab = extent.vocab;
  float* const of_teacher = logits + cross_entropy_chunk(DType::F32, extent.rows) * vocab;
  const CrossEntropyLoops& loops = MEMRING_LOOPS(queue, cross_entropy_loops);
  in_chunks(queue, extent.rows, first, [&](int64_t begin, int64_t rows) {
    if (skip_uncounted(targets + begin, rows, loss + begin, d_hidden + begin * dim, dim)) return;
    const auto logits_of = [&](const float* x, float* to) {
      row_product(queue, Transpose::Yes, rows, vocab, dim, x + begin * dim, weight, dim, Write::Overwrite, to,
                  first + begin);
    };
    logits_of(hidden, logits);
    logits_of(taught, of_teacher);
    parallel_for(threads_for(queue, rows * vocab), rows, [&](int64_t r) {
      float* const student = logits + r * vocab;
      const int32_t target = targets[begin + r];
      loss[begin + r] = 0;
      if (target == kIgnoredTarget) return static_cast<void>(std::fill_n(student, vocab, 0.0f));
      loss[begin + r] = distil_row(loops, student, of_teacher + r * vocab, target, share, vocab);
    });
    row_product(queue, Transpose::No, rows, dim, vocab, logits, weight, dim, Write::Overwrite, d_hidden + begin * dim,
                first + begin);
  });
}

}  // namespace memring::cpu
