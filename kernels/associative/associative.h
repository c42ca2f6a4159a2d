// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "base/queue.h"
#include "kernels/common/product_copies.h"

namespace memring {

/// Associative memory of one sequence: values under keys of non-negative features, with a normaliser (Rodkin et
/// al. 2024, "Associative recurrent memory transformer"; tests/golden/README.md fixes the conventions).
///
/// A state is A [keys, dim] and z [keys]. Empty views stand for the initial state, which is zero and takes no gradient;
/// the formulas are the same. fp32 or fp64, all views alike, sums too, or bf16 rows with an fp32 state; with
/// Products::Bf16 the operands of the products with `dim` in them are rounded, denominators never. rows == 0 is legal:
/// nothing is read or written, the state stays. `scratch` is taken for the call and given back; `*_scratch_bytes` say
/// how much of it.
struct Associative {
  static constexpr double kEps = 1e-5;

  // y += (phi A) / den, den = phi · z + eps:  y [rows, dim] · phi [rows, keys], spent: afterwards phi / den · smallest
  // [2], which starts as +inf: the second is lowered to the smallest denominator under a state that is not empty. Near
  // eps a memory is dead: eps then rules what it reads and replaces
  static int64_t read_scratch_bytes(DType, int64_t keys, int64_t dim);
  static void read(Queue&, View<> y, View<> phi, ConstView<> A, ConstView<> z, View<double> smallest, Arena& scratch);

  // d_phi [rows, keys] is written; dA and dz are accumulated, rows in ascending order, or empty where nobody wants
  // them. Both may be exact sums, which get one term for each canonical block of rows. dy [rows, dim] · phi as forward
  // got it, and spent as there
  static int64_t read_backward_scratch_bytes(DType, int64_t rows, int64_t keys, int64_t dim);
  static void read_backward(Queue&, View<> d_phi, View<> dA, View<> dz, ConstView<> dy, View<> phi, ConstView<> A,
                            ConstView<> z, Arena& scratch);

  /// What reading or writing so many rows needs of its thread: products of rows, features and `dim`.
  static ProductCopies copies(int64_t rows, int64_t keys, int64_t dim, bool backward);

  /// What is written: k [rows, keys] (features), v [rows, dim], gate [rows]: beta = sigmoid(gate).
  struct Rows {
    ConstView<> k, v, gate;
  };
  struct RowGradients {
    View<> k, v, gate;
  };

  // All rows against the old state, so that their order does not matter:
  //     old = (k A) / den, den = k · z + eps;   gamma = clip(1 - den / (|k|² + eps), 0, 1)
  //     new_A = A + sum of beta k (v - old)ᵀ;   new_z = z + sum of gamma k
  // The new state is written, and must not be the old one. smallest [2] is lowered as by read, and the first of it to
  // the smallest |k|² written.
  static int64_t write_scratch_bytes(DType, int64_t rows, int64_t keys, int64_t dim);
  static void write(Queue&, View<> new_A, View<> new_z, const Rows&, ConstView<> A, ConstView<> z,
                    View<double> smallest, Arena& scratch);

  // From the gradients of the new state those of the rows and, unless empty, of the old state; all are written. gamma
  // is a constant.
  static int64_t write_backward_scratch_bytes(DType, int64_t rows, int64_t keys, int64_t dim);
  static void write_backward(Queue&, const RowGradients&, View<> dA, View<> dz, ConstView<> d_new_A,
                             ConstView<> d_new_z, const Rows&, ConstView<> A, ConstView<> z, Arena& scratch);
};

}  // namespace memring
