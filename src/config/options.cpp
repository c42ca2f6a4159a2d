// All config keys, from the tables of their sections.
// SPDX-License-Identifier: Apache-2.0
#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "config/nearest.h"
#include "config/option_declarations.h"

namespace memring {
namespace {

std::vector<Option> table() {
  std::vector<Option> all;
  for (auto section :
       {declare::machine_options, declare::model_options, declare::data_options, declare::training_options})
    for (Option& option : section()) all.push_back(std::move(option));
  return all;
}

template <class F>
std::string words_of(const std::vector<Condition>& conditions, const F& told) {
  std::string text;
  for (const Condition& condition : conditions)
    if (told(condition)) text += fmt::format("{}{}", text.empty() ? "" : " and ", condition.words);
  return text;
}

}  // namespace

std::span<const Option> options() {
  static const std::vector<Option> all = table();
  return all;
}

const Option* find_option(std::string_view key) {
  for (const Option& option : options())
    if (option.key == key) return &option;
  return nullptr;
}

std::string conditions_text(const Option& option) {
  return words_of(option.counts, [](const Condition&) { return true; });
}

std::string unmet_conditions(const Option& option, const Config& config) {
  return words_of(option.counts, [&](const Condition& condition) { return !condition.holds(config); });
}

std::string_view nearest_key(std::string_view key) {
  const std::string_view name = key.substr(key.rfind('.') + 1);
  std::string_view best;
  int best_distance = std::numeric_limits<int>::max();
  for (const Option& option : options()) {
    // A right name in a wrong section (model.lr) counts as one mistake, a nearly right one as three.
    const int distance = std::min(edit_distance(key, option.key), 2 * edit_distance(name, option.name()) + 1);
    if (distance < best_distance) best = option.key, best_distance = distance;
  }
  return best;
}

}  // namespace memring
