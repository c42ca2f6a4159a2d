// Output head and loss: checks, scratch, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy/cross_entropy.h"

#include "base/error.h"
#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/common/dispatch.h"
#include "kernels/common/row_products.h"
#include "kernels/common/wide.h"
#include "kernels/cross_entropy/cpu.h"
#include "kernels/cross_entropy/cuda.h"
#include "kernels/cross_entropy/ref.h"
#include "kernels/linear/linear.h"

namespace memring {
namespace {

CrossEntropyExtents extents_of(ConstView<> nll, ConstView<> hidden, ConstView<> weight, const TokenIds& targets) {
  const DType dtype = expect_stored(hidden, 2, "CrossEntropy hidden");
  expect_stored(weight, 2, "CrossEntropy weight");
  const CrossEntropyExtents e{hidden.dim(0), hidden.dim(1), weight.dim(0)};
  expect(weight, dtype, {e.vocab, e.dim}, "CrossEntropy weight");
  expect(nll, sums_type(dtype), {e.rows}, "CrossEntropy nll");
  expect_ids(targets, e.rows, e.vocab, kIgnoredTarget, "target");
  return e;
}

// The references, in pieces.

template <class T>
void reference_forward(const Queue& queue, T* nll, const T* hidden, const T* weight, const int32_t* targets,
                       CrossEntropyExtents e, T* logits) {
  in_pieces(queue, e.rows, [&](int64_t begin, int64_t count) {
    reference::cross_entropy_forward(nll + begin, hidden + begin * e.dim, weight, targets + begin,
                                     {count, e.dim, e.vocab}, logits, queue.products());
  });
}

template <class T>
void reference_forward_backward(Queue& queue, T* nll, T* d_hidden, View<> d_weight, const T* hidden, const T* weight,
                                const int32_t* targets, CrossEntropyExtents e, T* logits, int64_t first) {
  const auto add = [&](T* terms, int64_t begin, int64_t count) {
    in_pieces(queue, count, [&](int64_t piece, int64_t rows) {
      const int64_t row = begin + piece, at = row * e.dim;
      reference::cross_entropy_forward_backward(nll + row, d_hidden + at, terms, hidden + at, weight, targets + row,
                                                {rows, e.dim, e.vocab}, logits, queue.products());
    });
  };
  if (!d_weight) return add(nullptr, 0, e.rows);
  add_rows<T>(queue, d_weight, e.rows, first, add);
}

}  // namespace

ProductCopies CrossEntropy::copies(int64_t rows, int64_t dim, int64_t vocab, bool backward) {
  return Linear::copies(cross_entropy_chunk(DType::F32, rows), dim, vocab, backward);  // the same three products
}

int64_t CrossEntropy::scratch_bytes(DType dtype, int64_t rows, int64_t vocab) {
  Arena measure;
  CrossEntropyLogits::carve(measure, dtype, rows, vocab, 1);
  return measure.peak();
}

int64_t CrossEntropy::distil_scratch_bytes(DType dtype, int64_t rows, int64_t vocab) {
  Arena measure;
  CrossEntropyLogits::carve(measure, dtype, rows, vocab, 2);
  return measure.peak();
}

void CrossEntropy::forward(Queue& queue, View<> nll, ConstView<> hidden, ConstView<> weight, const TokenIds& targets,
                           Arena& scratch, int64_t first) {
  const CrossEntropyExtents e = extents_of(nll, hidden, weight, targets);
  const DType dtype = hidden.dtype();
  if (!queue.device() && dtype == DType::BF16)
    return wide<&CrossEntropy::forward>(queue, nll, hidden, weight, targets, scratch, first);
  const Timed timed(queue, "CrossEntropy forward", e.flops(), hidden, weight);
  if (queue.device()) return cross_entropy_cuda->forward(queue, nll, hidden, weight, targets, scratch, first);
  const ArenaScope scope(scratch);
  const View<> logits = CrossEntropyLogits::carve(scratch, dtype, e.rows, e.vocab, 1).logits;
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference_forward(queue, nll.as<T>(), hidden.as<T>(), weight.as<T>(), targets.host.data(), e, logits.as<T>());
    });
  cpu::cross_entropy_forward(queue, nll.as<float>(), hidden.as<float>(), weight.as<float>(), targets.host.data(), e,
                             logits.as<float>(), first);
}

void CrossEntropy::forward_backward(Queue& queue, View<> nll, View<> d_hidden, View<> d_weight, ConstView<> hidden,
                                    ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t first) {
  const CrossEntropyExtents e = extents_of(nll, hidden, weight, targets);
  const DType dtype = hidden.dtype();
  expect(d_hidden, dtype, {e.rows, e.dim}, "CrossEntropy d_hidden");
  if (d_weight) expect_sums(d_weight, dtype, {e.vocab, e.dim}, "CrossEntropy d_weight");
  if (e.rows > 0 && e.dim > 0) check(d_hidden.data() != hidden.data(), "CrossEntropy: d_hidden must not be hidden");
  if (!queue.device() && dtype == DType::BF16)
    return wide<&CrossEntropy::forward_backward>(queue, nll, d_hidden, d_weight, hidden, weight, targets, scratch,
                                                 first);
  const Timed timed(queue, "CrossEntropy forward and backward", (d_weight ? 3 : 2) * e.flops(), hidden, weight,
                    d_hidden, d_weight);
  if (queue.device())
    return cross_entropy_cuda->forward_backward(queue, nll, d_hidden, d_weight, hidden, weight, targets, scratch,
                                                first);
  const ArenaScope scope(scratch);
  const View<> logits = CrossEntropyLogits::carve(scratch, dtype, e.rows, e.vocab, 1).logits;
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      reference_forward_backward(queue, nll.as<T>(), d_hidden.as<T>(), d_weight, hidden.as<T>(), weight.as<T>(),
                                 targets.host.data(), e, logits.as<T>(), first);
    });
  cpu::cross_entropy_forward_backward(queue, nll.as<float>(), d_hidden.as<float>(), d_weight, hidden.as<float>(),
                                      weight.as<float>(), targets.host.data(), e, logits.as<float>(), first);
}

void CrossEntropy::distil(Queue& queue, View<> loss, View<> d_hidden, ConstView<> hidden, ConstView<> taught,
                          double share, ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t first) {
  const CrossEntropyExtents e = extents_of(loss, hidden, weight, targets);
  const DType dtype = hidden.dtype();
  expect(taught, dtype, {e.rows, e.dim}, "CrossEntropy taught");
  expect(d_hidden, dtype, {e.rows, e.dim}, "CrossEntropy d_hidden");
  if (e.rows > 0 && e.dim > 0) check(d_hidden.data() != hidden.data(), "CrossEntropy: d_hidden must not be hidden");
  check(share >= 0 && share <= 1, fmt::format("CrossEntropy: a share of {} for the teacher", share));
  if (!queue.device() && dtype == DType::BF16)
    return wide<&CrossEntropy::distil>(queue, loss, d_hidden, hidden, taught, share, weight, targets, scratch, first);
  const Timed timed(queue, "CrossEntropy distil", 3 * e.flops(), hidden, taught, weight, d_hidden);
  if (queue.device())
    return cross_entropy_cuda->distil(queue, loss, d_hidden, hidden, taught, share, weight, targets, scratch, first);
  const ArenaScope scope(scratch);
  const View<> logits = CrossEntropyLogits::carve(scratch, dtype, e.rows, e.vocab, 2).logits;
  if (queue.reference(dtype))
    return by_float_type(dtype, [&]<class T>() {
      in_pieces(queue, e.rows, [&](int64_t begin, int64_t rows) {
        const int64_t at = begin * e.dim;
        reference::cross_entropy_distil(loss.as<T>() + begin, d_hidden.as<T>() + at, hidden.as<T>() + at,
                                        taught.as<T>() + at, share, weight.as<T>(), targets.host.data() + begin,
                                        {rows, e.dim, e.vocab}, logits.as<T>(), queue.products());
      });
    });
  cpu::cross_entropy_distil(queue, loss.as<float>(), d_hidden.as<float>(), hidden.as<float>(), taught.as<float>(),
                            share, weight.as<float>(), targets.host.data(), e, logits.as<float>(), first);
}

}  // namespace memring
