// Exact: a number that is summed without rounding, so that sums have the same bits in whatever order, and over however
// many ranks, their terms come. (Fixed point, as in reproducible summation; Demmel & Nguyen 2015.)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace memring {

/// high 2^-8 + low 2^-46. A term is rounded once, to a multiple of 2^-46 (1.4e-14), and its parts are added as
/// integers, which is associative. Terms must be numbers below 2^29 (5e8) in size: any other makes the sum, and every
/// sum that it enters, not a number. Up to 2^25 terms neither part can overflow.
struct Exact {
  static constexpr double kHighUnit = 0x1p-8, kLowUnit = 0x1p-46, kBound = 0x1p29;
  static constexpr int64_t kNotANumber = std::numeric_limits<int64_t>::min();  ///< of `high`

  int64_t high = 0, low = 0;

  Exact() = default;
  explicit Exact(double term) {
    if (!(std::abs(term) < kBound)) {
      high = kNotANumber;
      return;
    }
    const double rounded = std::nearbyint(term / kHighUnit);
    high = static_cast<int64_t>(rounded);
    low = static_cast<int64_t>(std::nearbyint((term - rounded * kHighUnit) / kLowUnit));
  }
  Exact& operator+=(const Exact& other) {
    const bool bad = high == kNotANumber || other.high == kNotANumber;
    high = bad ? kNotANumber : high + other.high;
    low = bad ? 0 : low + other.low;
    return *this;
  }
  bool operator==(const Exact&) const = default;

  /// The nearest double; NaN where the sum is not a number.
  double value() const {
    if (high == kNotANumber) return std::numeric_limits<double>::quiet_NaN();
    __extension__ using Wide = __int128;
    const Wide units = static_cast<Wide>(high) * static_cast<int64_t>(kHighUnit / kLowUnit) + low;
    return static_cast<double>(units) * kLowUnit;
  }
};

}  // namespace memring
