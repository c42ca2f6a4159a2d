// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"

namespace memring {

/// Moves between the projections' row-major layout and attention's head-major one. Each is the other's backward.
/// fp32, fp64 or bf16; outputs are written.
struct Heads {
  // out [batch, heads, rows, head_dim] · in [batch * rows, heads * head_dim]
  static void split(Queue&, View<> out, ConstView<> in);
  // out [batch * rows, heads * head_dim] · in [batch, heads, rows, head_dim]
  static void merge(Queue&, View<> out, ConstView<> in);
};

}  // namespace memring
