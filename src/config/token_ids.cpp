// SPDX-License-Identifier: Apache-2.0
#include "config/token_ids.h"

#include "config/number_list.h"

namespace memring {

std::optional<std::vector<int32_t>> parse_token_ids(std::string_view text) {
  auto ids = parse_numbers<int32_t>(text);
  if (ids && std::any_of(ids->begin(), ids->end(), [](int32_t id) { return id < 0; })) ids.reset();
  return ids;
}

}  // namespace memring
