// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "base/ids.h"
#include "base/queue.h"
#include "kernels/common/product_copies.h"
#include "kernels/common/token_ids.h"

namespace memring {

/// Output head and loss in one: logits = hidden Wᵀ, nll = log(sum exp(logits)) - logits[target]. The logits exist for a
/// chunk of rows at a time only. A target of kIgnoredTarget is not counted: its nll is 0 and it sends no gradient.
///
/// fp32 or fp64, all float views alike, or bf16 with nll and d_weight in fp32; d_weight may be exact sums, which get
/// one term for each canonical block of rows. `first`: the number of the first row in the rows that canonical blocks
/// are counted by. Throws Error(Data) naming the first target outside [0, vocab). `scratch` is taken for the call and
/// given back; `scratch_bytes` says how much of it.
struct CrossEntropy {
  static int64_t scratch_bytes(DType, int64_t rows, int64_t vocab);
  /// What forward, or forward_backward, needs of its thread.
  static ProductCopies copies(int64_t rows, int64_t dim, int64_t vocab, bool backward);

  // nll [rows] · hidden [rows, dim] (after the final norm) · weight [vocab, dim] · targets [rows]
  static void forward(Queue&, View<> nll, ConstView<> hidden, ConstView<> weight, const TokenIds& targets,
                      Arena& scratch, int64_t first = 0);

  // Loss and gradient of sum(nll) in one pass over the logits: d_hidden [rows, dim] is written (and must not be
  // hidden), d_weight [vocab, dim] accumulated, chunks in ascending order; or it is empty: the weight is frozen. nll as
  // above.
  static void forward_backward(Queue&, View<> nll, View<> d_hidden, View<> d_weight, ConstView<> hidden,
                               ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t first = 0);

  // Distillation (Hinton et al. 2015) by the same head, which stays: with p of the row `taught` and q of `hidden`, both
  // [rows, dim],
  //   loss = (1 - share) nll + share sum_j p_j log(p_j / q_j),   d_logits = q - (1 - share) onehot - share p
  // and share in [0, 1]. Rows whose target is not counted count in neither part. d_hidden as above; needs
  // distil_scratch_bytes.
  static void distil(Queue&, View<> loss, View<> d_hidden, ConstView<> hidden, ConstView<> taught, double share,
                     ConstView<> weight, const TokenIds& targets, Arena& scratch, int64_t first = 0);
  static int64_t distil_scratch_bytes(DType, int64_t rows, int64_t vocab);
};

}  // namespace memring
