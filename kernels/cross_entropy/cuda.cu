// Output head and loss on a device: products of a chunk of rows, and between them a block for each row of logits.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/cuda.h"

#include <lane.h>
#include <launch.h>

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/operands.h"
#include "kernels/cuda/products.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/stored_type.h"

namespace memring {
namespace {

constexpr int kThreads = 256;  ///< of a row, at the most

/// The sum of exponentials of some logits, as exp(logit - largest).
template <class C>
struct LogSum {
  C largest = -INFINITY, sum = 0;

  MEMRING_LANE void add(C logit) {
    if (logit > largest) {
      sum = sum * exp_of(largest - logit) + 1;
      largest = logit;
    } else {
      sum += logit == largest ? 1 : exp_of(logit - largest);  // of two that are -inf too
    }
  }
  MEMRING_LANE C below(C other) const { return largest == other ? sum : sum * exp_of(largest - other); }
  MEMRING_LANE C log() const { return largest + log_of(sum); }
};

template <class C>
MEMRING_LANE LogSum<C> together(LogSum<C> a, LogSum<C> b) {
  LogSum<C> both;
  both.largest = a.largest > b.largest ? a.largest : b.largest;
  both.sum = a.below(both.largest) + b.below(both.largest);
  return both;
}

template <class C>
struct RowMemory {
  LogSum<C> of_warp[kThreads / kWarp], of_teacher[kThreads / kWarp];
  C sum[kThreads / kWarp];
};

/// What the threads of a block have, each of them gets: warps in their order. `of_warp` is used once.
template <class C>
MEMRING_LANE LogSum<C> block_log_sum(LogSum<C> mine, LogSum<C>* of_warp, Place place = Place::current()) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) {
    LogSum<C> other;
    other.largest = shuffle_xor(mine.largest, bits, place);
    other.sum = shuffle_xor(mine.sum, bits, place);
    mine = together(mine, other);
  }
  if (lane_index() == 0) of_warp[warp_index()] = mine;
  memring::meet_block(place);
  LogSum<C> all = of_warp[0];
  for (int warp = 1; warp < block_threads() / kWarp; ++warp) all = together(all, of_warp[warp]);
  return all;
}

/// A block's row that is not counted: no loss, no gradient.
template <class T, class C>
MEMRING_LANE void leave_out(C* loss, T* d_logits, int64_t vocab) {
  if (thread_index() == 0) *loss = 0;
  for (int64_t j = thread_index(); d_logits && j < vocab; j += block_threads()) store(d_logits[j], C(0));
}

/// d_logits may be the logits' place, or null: not wanted.
template <class T, class C>
MEMRING_KERNEL void cross_entropy_rows(C* nll, T* d_logits, const C* logits, const int32_t* targets, int64_t vocab) {
  const int64_t row = block_x();
  const int32_t target = targets[row];
  const C* const x = logits + row * vocab;
  T* const dx = d_logits ? d_logits + row * vocab : nullptr;
  if (target == kIgnoredTarget) return leave_out(nll + row, dx, vocab);
  const C wanted = x[target];  // before anybody writes there
  LogSum<C> mine;
  for (int64_t j = thread_index(); j < vocab; j += block_threads()) mine.add(x[j]);
  const LogSum<C> all = block_log_sum(mine, block_memory<RowMemory<C>>().of_warp);
  if (thread_index() == 0) nll[row] = log_of(all.sum) + (all.largest - wanted);
  if (!dx) return;
  const C scale = 1 / all.sum;
  for (int64_t j = thread_index(); j < vocab; j += block_threads())
    store(dx[j], exp_of(x[j] - all.largest) * scale - (j == target ? 1 : 0));
}

template <class T, class C>
MEMRING_KERNEL void cross_entropy_distil_rows(C* loss, T* d_logits, const C* logits, const C* taught, C share,
                                              const int32_t* targets, int64_t vocab) {
  auto& memory = block_memory<RowMemory<C>>();
  const int64_t row = block_x();
  const int32_t target = targets[row];
  const C *const x = logits + row * vocab, *const t = taught + row * vocab;
  T* const dx = d_logits + row * vocab;
  if (target == kIgnoredTarget) return leave_out(loss + row, dx, vocab);
  const C wanted = x[target];
  LogSum<C> mine, of_teacher;
  for (int64_t j = thread_index(); j < vocab; j += block_threads()) {
    mine.add(x[j]);
    of_teacher.add(t[j]);
  }
  const C log_q = block_log_sum(mine, memory.of_warp).log(), log_p = block_log_sum(of_teacher, memory.of_teacher).log();
  C divergence = 0;
  for (int64_t j = thread_index(); j < vocab; j += block_threads()) {
    const C q = exp_of(x[j] - log_q), p = exp_of(t[j] - log_p);
    divergence += p * ((t[j] - log_p) - (x[j] - log_q));
    store(dx[j], q - share * p - (j == target ? 1 - share : 0));
  }
  divergence = block_sum(divergence, memory.sum);
  if (thread_index() == 0) loss[row] = (1 - share) * (log_q - wanted) + share * divergence;
}

template <class C>
Grid grid_of_rows(int64_t rows, int64_t vocab) {
  return {rows, 1, grid_for(vocab, kThreads).threads, sizeof(RowMemory<C>)};
}

/// chunk(begin, rows) for those chunks of which a row counts; the others are done.
template <class F>
void in_chunks(Queue& queue, View<> loss, View<> d_hidden, DType stored, const TokenIds& targets, const F& chunk) {
  const int64_t all = loss.dim(0);
  for (int64_t begin = 0, rows = 0; begin < all; begin += rows) {
    rows = std::min(cross_entropy_chunk(stored, all), all - begin);
    const std::span<const int32_t> here = targets.part(begin, rows).host;
    if (std::any_of(here.begin(), here.end(), [](int32_t target) { return target != kIgnoredTarget; })) {
      chunk(begin, rows);
      continue;
    }
    queue.device()->fill(queue.stream(), loss.rows(begin, rows), 0);
    if (d_hidden) queue.device()->fill(queue.stream(), d_hidden.rows(begin, rows), 0);
  }
}

/// With d_hidden, gradients too.
void run(Queue& queue, View<> nll, View<> d_hidden, View<> d_weight, ConstView<> hidden, ConstView<> weight,
         const TokenIds& targets, Arena& scratch) {
  const ArenaScope scope(scratch);
  const int64_t vocab = weight.dim(0);
  const auto both = CrossEntropyLogits::carve(scratch, hidden.dtype(), hidden.dim(0), vocab, 1);
  in_chunks(queue, nll, d_hidden, hidden.dtype(), targets, [&](int64_t begin, int64_t rows) {
    const View<> logits = both.logits.rows(0, rows), d_logits = both.gradient.rows(0, rows);
    const ConstView<> x = hidden.rows(begin, rows);
    matrix_product(queue, logits, Write::Overwrite, {x}, transposed(weight));
    by_stored_type(hidden.dtype(), [&]<class T>() {
      using C = Computed<T>;
      launch<cross_entropy_rows<T, C>>(queue, grid_of_rows<C>(rows, vocab), address<C>(nll.rows(begin, rows)),
                                       d_hidden ? address<T>(d_logits) : nullptr, address<C>(ConstView<>(logits)),
                                       address<int32_t>(ConstView<>(targets.ids.rows(begin, rows))), vocab);
    });
    if (!d_hidden) return;
    matrix_product(queue, d_hidden.rows(begin, rows), Write::Overwrite, {d_logits}, {weight});
    if (d_weight) matrix_product(queue, d_weight, Write::Accumulate, transposed(d_logits), {x});
  });
}

void forward(Queue& queue, View<> nll, ConstView<> hidden, ConstView<> weight, const TokenIds& targets, Arena& scratch,
             int64_t) {
  run(queue, nll, {}, {}, hidden, weight, targets, scratch);
}

void forward_backward(Queue& queue, View<> nll, View<> d_hidden, View<> d_weight, ConstView<> hidden,
                      ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t) {
  run(queue, nll, d_hidden, d_weight, hidden, weight, targets, scratch);
}

void distil(Queue& queue, View<> loss, View<> d_hidden, ConstView<> hidden, ConstView<> taught, double share,
            ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t) {
  const ArenaScope scope(scratch);
  const int64_t vocab = weight.dim(0), chunk = cross_entropy_chunk(hidden.dtype(), hidden.dim(0));
  const auto both = CrossEntropyLogits::carve(scratch, hidden.dtype(), hidden.dim(0), vocab, 2);
  in_chunks(queue, loss, d_hidden, hidden.dtype(), targets, [&](int64_t begin, int64_t rows) {
    const View<> logits = both.logits.rows(0, rows), of_teacher = both.logits.rows(chunk, rows),
                 d_logits = both.gradient.rows(0, rows);
    matrix_product(queue, logits, Write::Overwrite, {hidden.rows(begin, rows)}, transposed(weight));
    matrix_product(queue, of_teacher, Write::Overwrite, {taught.rows(begin, rows)}, transposed(weight));
    by_stored_type(hidden.dtype(), [&]<class T>() {
      using C = Computed<T>;
      launch<cross_entropy_distil_rows<T, C>>(queue, grid_of_rows<C>(rows, vocab), address<C>(loss.rows(begin, rows)),
                                              address<T>(d_logits), address<C>(ConstView<>(logits)),
                                              address<C>(ConstView<>(of_teacher)), static_cast<C>(share),
                                              address<int32_t>(ConstView<>(targets.ids.rows(begin, rows))), vocab);
    });
    matrix_product(queue, d_hidden.rows(begin, rows), Write::Overwrite, {d_logits}, {weight});
  });
}

const CrossEntropyKernels kernels{forward, forward_backward, distil};

}  // namespace

const CrossEntropyKernels* const cross_entropy_cuda = &kernels;

}  // namespace memring
