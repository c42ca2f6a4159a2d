// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/token_ids.h"

namespace memring {

/// Cosines and sines of rows' angles: [sequences or 1, rows, half] each; 1: all sequences have the same.
struct RopeAngles {
  ConstView<> cos, sin;
};

/// Rotary position embedding (Su et al. 2021), Llama's "rotate_half" form: with half = head_dim / 2 and
/// a_i = position · inverse_i:   (x_i, x_{i+half}) -> (x_i cos a_i - x_{i+half} sin a_i, x_{i+half} cos a_i + x_i sin
/// a_i).
///
/// The rotation also moves the projection's rows to the head-major layout that attention wants (dense operands per
/// head). fp32 or fp64, all views alike; or bf16 with the tables in fp32. Positions are what the caller says, and say
/// nothing about who sees whom.
struct Rope {
  // cos, sin [tables, rows, half], both times `factor` (YaRN's attention factor; 1: none) · positions [tables * rows] ·
  // inverse [half]: the frequencies. Angles are computed in double whatever the type of the tables (in fp32 they are
  // off by 0.06 rad at position one million)
  static void table(Queue&, View<> cos, View<> sin, const TokenIds& positions, ConstView<double> inverse,
                    double factor);

  // out [batch, heads, rows, head_dim] · in [batch * rows, heads * head_dim] · cos, sin
  // [batch or 1, rows, half]
  static void forward(Queue&, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin);
  // d_in [batch * rows, heads * head_dim] is written: the inverse rotation of d_out
  static void backward(Queue&, View<> d_in, ConstView<> d_out, ConstView<> cos, ConstView<> sin);
};

}  // namespace memring
