// Diagnostics: numbers that a mechanism tells of a step, for the log alone. Whoever measures one declares it; all
// layers in between hand them on without knowing what they mean.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace memring {

/// How what was measured in several places becomes one number.
enum class Combine : uint8_t { Min, Max, Sum };

struct Diagnostic {
  std::string_view name;   ///< in metrics.jsonl
  std::string_view shown;  ///< on the terminal, a format of the number: "key {:.1g}"
  Combine combine = Combine::Min;

  /// The number before anything was measured.
  double none() const {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    return combine == Combine::Min ? kInf : combine == Combine::Max ? -kInf : 0;
  }
  double of(double a, double b) const {
    return combine == Combine::Min ? std::min(a, b) : combine == Combine::Max ? std::max(a, b) : a + b;
  }
};

/// Those of a step, one value each. What they were declared by must outlive them.
struct Diagnostics {
  std::span<const Diagnostic> declared;
  std::vector<double> values;

  Diagnostics() = default;
  explicit Diagnostics(std::span<const Diagnostic> all) : declared(all), values(all.size()) { clear(); }
  void clear() {
    for (size_t i = 0; i < values.size(); ++i) values[i] = declared[i].none();
  }
  /// Takes in the values of another place.
  void combine(std::span<const double> others) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = declared[i].of(values[i], others[i]);
  }
  /// Whether there is anything to tell. (A sum of nothing is finite.)
  bool measured() const {
    for (size_t i = 0; i < values.size(); ++i)
      if (std::isfinite(values[i]) && values[i] != declared[i].none()) return true;
    return false;
  }
};

}  // namespace memring
