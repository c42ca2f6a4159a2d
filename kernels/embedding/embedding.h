// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/token_ids.h"

namespace memring {

/// Token embedding: row i of y is row ids[i] of the table. fp32, fp64, or bf16 with d_table in fp32.
/// Throws Error(Data) naming the first id outside [0, vocab).
struct Embedding {
  // y [rows, dim] · table [vocab, dim] · ids [rows]
  static void forward(Queue&, View<> y, ConstView<> table, const TokenIds& ids);
  // d_table [vocab, dim] += rows of dy, in ascending row order (same bits for any thread count); empty: the table is
  // frozen, and nothing is done
  static void backward(Queue&, View<> d_table, ConstView<> dy, const TokenIds& ids);
};

}  // namespace memring
