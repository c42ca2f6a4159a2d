// SPDX-License-Identifier: Apache-2.0
#include "eval/other_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace memring {
namespace {

/// How weights start, which of them learn and who teaches is over; theta is told with the frequencies.
constexpr std::array<std::string_view, 7> kNoMatter = {"model.init_std",  "model.embedding_std", "model.train",
                                                       "memory.init_std", "model.rope_theta",    "objective.kl",
                                                       "objective.window"};

std::string rotary_text(const Config& config) {
  return fmt::format("{} (theta {})", settings_text(config, "rope"), config.model.rope_theta);
}

}  // namespace

std::vector<OtherSettings> other_settings(const Config& trained, const Config& evaluated) {
  std::vector<OtherSettings> others;
  if (std::string then = rotary_text(trained), now = rotary_text(evaluated); then != now)
    others.push_back({"rope", std::move(then), std::move(now)});
  const std::vector<ChangedKey> changed = changed_effects(trained, evaluated);
  for (const std::string section : {"model", "lora", "memory", "segment", "objective"}) {
    OtherSettings other{section, "", ""};
    for (const auto& [key, then, now] : changed) {
      if (!key.starts_with(section + ".") || std::count(kNoMatter.begin(), kNoMatter.end(), key) > 0) continue;
      const std::string name = key.substr(section.size() + 1);
      const auto add = [&](std::string& to, const std::string& value) {
        if (!value.empty()) to += fmt::format("{}{} {}", to.empty() ? "" : ", ", name, value);
      };
      add(other.trained, then);
      add(other.evaluated, now);
    }
    if (other.trained != other.evaluated) others.push_back(std::move(other));
  }
  return others;
}

std::string to_text(const std::vector<OtherSettings>& others) {
  std::string text;
  for (const OtherSettings& other : others)
    text += fmt::format("{}: trained with {}, evaluated with {}\n",
                        other.section == "rope" ? "rope.scaling" : other.section, other.trained, other.evaluated);
  return text;
}

void add_to(nlohmann::ordered_json& json, const std::vector<OtherSettings>& others) {
  for (const OtherSettings& other : others)
    json[other.section] = {{"trained", other.trained}, {"evaluated", other.evaluated}};
}

}  // namespace memring
