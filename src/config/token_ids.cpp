// SPDX-License-Identifier: Apache-2.0
#include "config/token_ids.h"

#include <algorithm>
#include <charconv>

namespace memring {

std::optional<std::vector<int32_t>> parse_token_ids(std::string_view text) {
  constexpr std::string_view kBetween = " ,\t";
  std::vector<int32_t> ids;
  for (size_t begin = text.find_first_not_of(kBetween); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end || id < 0) return std::nullopt;
    ids.push_back(id);
    begin = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

}  // namespace memring
