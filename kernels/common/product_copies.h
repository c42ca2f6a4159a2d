// What products keep on their thread, besides their operands: rounded copies of these, where products are bf16. A
// caller that plans its memory asks for them before it has any.
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

  int64_t bytes(Products) const;  ///< at the most, on any CPU: one with AMX takes half of them
};

/// Takes the memory of the calling thread's copies now, where its products would take it one by one. What a thread has
/// it keeps.
void reserve_product_copies(Products, const ProductCopies&);
/// What the calling thread has.
ProductCopies product_copies(Products);

}  // namespace memring
