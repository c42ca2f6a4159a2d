// Lists of numbers as a configuration writes them: "13 198 30" or "[1.0, 1.02]", with spaces or commas between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

namespace memring {

/// Nothing where a part is no number of this type.
template <class T>
std::optional<std::vector<T>> parse_numbers(std::string_view text) {
  constexpr std::string_view kBetween = " ,\t[]";
  std::vector<T> numbers;
  for (size_t begin = text.find_first_not_of(kBetween); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    T number{};
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, number);
    if (error != std::errc() || stop != text.data() + end) return std::nullopt;
    numbers.push_back(number);
    begin = text.find_first_not_of(kBetween, end);
  }
  return numbers;
}

}  // namespace memring
