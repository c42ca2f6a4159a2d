// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Deterministic parameter-free projection of order nu (Schlag, Irie & Schmidhuber 2021, section 5.3): sparse features,
/// none negative, that make keys nearly orthogonal. With u = [relu(x); relu(-x)]:
///
///     phi(x) = concat over j = 1 .. nu of  u * roll(u, j),   roll(u, j)_i = u_{(i - j) mod 2 key_dim}
///
/// fp32, fp64 or bf16, all views alike; rows are independent, rows == 0 does nothing. The slope of relu at 0 is 0.
struct Dpfp {
  // phi [rows, 2 nu key_dim] · x [rows, key_dim]
  static void forward(Queue&, View<> phi, ConstView<> x, int64_t nu);
  // dx [rows, key_dim] is written; it is not x
  static void backward(Queue&, View<> dx, ConstView<> d_phi, ConstView<> x, int64_t nu);
};

}  // namespace memring
