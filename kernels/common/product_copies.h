// What products take besides their operands and sums: copies of operands, rounded by the calling thread where products
// are bf16, or packed by each thread's share of oneDNN where they are fp32; and terms of exact sums. A caller that
// plans its memory asks for them before it has any.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/queue.h"

namespace memring {

/// Numbers of the largest left and the largest right operand of some products.
struct ProductCopies {
  int64_t left = 0, right = 0;

  /// C [m, n] = A [m, k] B [k, n]
  static ProductCopies of(int64_t m, int64_t n, int64_t k) { return {m * k, k * n}; }
  /// As many as either needs.
  friend ProductCopies operator|(const ProductCopies& a, const ProductCopies& b) {
    return {std::max(a.left, b.left), std::max(a.right, b.right)};
  }
  bool operator==(const ProductCopies&) const = default;

  /// At the most, on any CPU: rounded ones take half of it on one with AMX, packed ones a few blocks on each thread.
  int64_t bytes(Products, int threads) const;
};

/// Takes the memory of the calling thread's copies now, where its products would take it one by one. What a thread has
/// it keeps.
void reserve_product_copies(Products, const ProductCopies&);
/// What the calling thread has.
ProductCopies product_copies(Products);

/// Bytes of the terms of exact sums (run.deterministic = strict) for gradients of this shape: the references make all
/// of one at a time (fp64), oneDNN a few rows of one on each thread (fp32).
int64_t exact_terms_bytes(DType, int64_t rows, int64_t columns, int threads);

}  // namespace memring
