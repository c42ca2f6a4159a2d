// lora.targets as a value.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "config/number_list.h"
#include "config/words.h"

namespace memring {

/// The layers that "q_proj,v_proj" names, or `all` of them; nothing where a word is no name, or none is there.
inline std::optional<std::vector<LoraTarget>> parse_lora_targets(std::string_view text) {
  constexpr auto kNames = words(LoraTarget{});
  std::vector<LoraTarget> targets;
  bool known = true;
  for_each_word(text, [&](std::string_view word) {
    const auto before = targets.size();
    for (const auto& [target, name] : kNames)
      if (word == name || word == "all") targets.push_back(target);
    known = known && targets.size() > before;
  });
  return known && !targets.empty() ? std::optional(std::move(targets)) : std::nullopt;
}

}  // namespace memring
