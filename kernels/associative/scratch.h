// Associative memory: what each call works in, on every backend. Private to kernels/associative.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/arena.h"
#include "kernels/associative/operands.h"

namespace memring {

/// Numbers are of the type of sums. Beside rows in bf16 there are also, for a device: factors of products rounded to
/// bf16, and sums that are rounded in the end; elsewhere these are empty, and others take their place.
struct AssociativeScratch {
  View<> old;      // write: [rows, dim] k A, which turns into a factor
  View<> per_row;  // [rows], or [2, rows] of read_backward
  View<> A, G;     // bf16 [keys, dim]: the state's A, and the gradient of the new one
  View<> factor;   // bf16 [rows, dim]: of what is written
  View<> by_dim;   // fp32 [rows, dim]: dv before its rounding
  View<> by_key;   // fp32 [rows, keys]: d_phi or dk before their rounding

  static AssociativeScratch read(Arena& arena, DType stored, const AssociativeExtents& e) {
    AssociativeScratch s;
    if (stored == DType::BF16) s.A = arena.take(stored, {e.keys, e.dim});
    return s;
  }
  static AssociativeScratch read_backward(Arena& arena, DType stored, const AssociativeExtents& e) {
    AssociativeScratch s = read(arena, stored, e);
    s.per_row = arena.take(sums(stored), {2, e.rows});
    if (stored == DType::BF16) s.by_key = arena.take(DType::F32, {e.rows, e.keys});
    return s;
  }
  static AssociativeScratch write(Arena& arena, DType stored, const AssociativeExtents& e) {
    AssociativeScratch s = read(arena, stored, e);
    s.old = arena.take(sums(stored), {e.rows, e.dim});
    s.per_row = arena.take(sums(stored), {e.rows});
    if (stored == DType::BF16) s.factor = arena.take(stored, {e.rows, e.dim});
    return s;
  }
  static AssociativeScratch write_backward(Arena& arena, DType stored, const AssociativeExtents& e) {
    AssociativeScratch s = write(arena, stored, e);
    if (stored != DType::BF16) return s;
    s.G = arena.take(stored, {e.keys, e.dim});
    s.by_dim = arena.take(DType::F32, {e.rows, e.dim});
    s.by_key = arena.take(DType::F32, {e.rows, e.keys});
    return s;
  }

 private:
  static DType sums(DType stored) { return stored == DType::BF16 ? DType::F32 : stored; }
};

}  // namespace memring
