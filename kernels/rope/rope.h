// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/ids.h"
#include "base/queue.h"
#include "kernels/common/row_table.h"

namespace memring {

/// Cosines and sines of rows' angles: [rows, half] each.
struct RopeAngles {
  ConstView<> cos, sin;
};

/// Rotary position embedding (Su et al. 2021), Llama's "rotate_half" form: with half = head_dim / 2 and
/// a_i = position · theta^(-i/half):   (x_i, x_{i+half}) -> (x_i cos a_i - x_{i+half} sin a_i, x_{i+half} cos a_i + x_i
/// sin a_i).
///
/// The rotation also moves the projection's rows to the head-major layout that attention wants (dense operands per
/// head). fp32 or fp64, all views alike; or bf16 with the table in fp32. Positions come from the rows, so a layout may
/// place them as it likes.
struct Rope {
  // cos, sin [rows, half]: angles are computed in double whatever the type of the table (in fp32 they are off by
  // 0.06 rad at position one million)
  static void table(Queue&, View<> cos, View<> sin, const RowTable& rows, double theta);

  // out [batch, heads, rows, head_dim] · in [batch * rows, heads * head_dim] · cos, sin [rows, half]
  static void forward(Queue&, View<> out, ConstView<> in, ConstView<> cos, ConstView<> sin);
  // d_in [batch * rows, heads * head_dim] is written: the inverse rotation of d_out
  static void backward(Queue&, View<> d_in, ConstView<> d_out, ConstView<> cos, ConstView<> sin);
};

}  // namespace memring
