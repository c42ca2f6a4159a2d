// Tables of rotary angles for tests of the operators that take them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/rope/rope.h"
#include "op_test.h"

namespace memring::test {

/// theta^(-i/half)
inline Tensor<double> frequencies(int64_t half, double theta) {
  Tensor<double> inverse(Shape{half});
  for (int64_t i = 0; i < half; ++i) inverse[i] = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
  return inverse;
}

/// [tables, rows, half] each, for the positions of `tables` sequences behind each other.
template <class T>
struct RopeTables {
  Tensor<T> cos, sin;

  RopeTables(Queue& queue, const std::vector<int32_t>& positions, int64_t half, double theta, int64_t tables = 1,
             double factor = 1)
      : cos(Shape{tables, std::ssize(positions) / tables, half}), sin(cos.shape) {
    Tensor<int32_t> ids(Shape{std::ssize(positions)});
    ids.data = positions;
    const Tensor<double> inverse = frequencies(half, theta);
    Rope::table(queue, cos, sin, token_ids(ids), inverse.view(), factor);
  }
  RopeAngles angles() const { return {cos, sin}; }
};

}  // namespace memring::test
