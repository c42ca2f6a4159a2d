// The --help text of config keys, from the table.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "config/config.h"
#include "config/options.h"
#include "config/values.h"

namespace memring {

std::string config_help(const std::vector<std::string>& sections) {
  const Config defaults;
  std::string text;
  std::string_view section;
  for (const Option& option : options()) {
    if (!sections.empty() && std::find(sections.begin(), sections.end(), option.section()) == sections.end()) continue;
    if (option.section() != section) {
      section = option.section();
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    const std::string value = value_text(option, defaults);
    const std::string counts = conditions_text(option);
    text +=
        fmt::format("  --{}=VALUE\n      {}\n      {}; default {};{}{}{} example --{}={}\n", option.key, option.help,
                    describe_values(option), value.empty() ? "empty" : value, counts.empty() ? "" : " counts with ",
                    counts, counts.empty() ? "" : ";", option.key, option.example);
  }
  return text;
}

}  // namespace memring
