// Lists of token ids as a configuration writes them: "13 198 30", with spaces or commas between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace memring {

/// Nothing where a part is no id: an integer from 0 to 2^31 - 1.
std::optional<std::vector<int32_t>> parse_token_ids(std::string_view text);

}  // namespace memring
