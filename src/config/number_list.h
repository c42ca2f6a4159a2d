// Lists as a configuration writes them: "13 198 30" or "[1.0, 1.02]", with spaces or commas between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace memring {

/// Calls f with each word of a list.
template <class F>
void for_each_word(std::string_view text, const F& f) {
  constexpr std::string_view kBetween = " ,\t[]";
  for (size_t begin = text.find_first_not_of(kBetween); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    f(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kBetween, end);
  }
}

/// False where the word is more, or something else, than a number of this type.
template <class T>
bool read_number(std::string_view word, T& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size();
}

/// Nothing where a word is no number of this type.
template <class T>
std::optional<std::vector<T>> parse_numbers(std::string_view text) {
  std::optional<std::vector<T>> numbers(std::in_place);
  for_each_word(text, [&](std::string_view word) {
    T number{};
    if (!read_number(word, number))
      numbers.reset();
    else if (numbers)
      numbers->push_back(number);
  });
  return numbers;
}

/// Nothing where a word is no token id, 0 to 2^31 - 1.
inline std::optional<std::vector<int32_t>> parse_token_ids(std::string_view text) {
  auto ids = parse_numbers<int32_t>(text);
  if (ids && std::any_of(ids->begin(), ids->end(), [](int32_t id) { return id < 0; })) ids.reset();
  return ids;
}

}  // namespace memring
