// From a file or text and overrides to a Config: scan, look each key up, set its field, derive, validate; and back
// to text.
// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "config/options.h"
#include "config/scanner.h"
#include "config/validate.h"
#include "config/values.h"

namespace memring {
namespace {

Error unknown_key(const Setting& setting) {
  const std::string_view section = std::string_view(setting.key).substr(0, setting.key.find('.'));
  std::string names;
  for (const Option& option : options())
    if (option.section() == section) names += (names.empty() ? "" : ", ") + std::string(option.name());
  const std::string near = fmt::format("Did you mean '{}'? ", nearest_key(setting.key));
  if (names.empty()) {
    std::string sections;
    for (const Option& option : options())
      if (sections.find('[' + std::string(option.section()) + ']') == std::string::npos)
        sections += fmt::format("{}[{}]", sections.empty() ? "" : " ", option.section());
    return Error(ExitCode::Usage,
                 fmt::format("{}: unknown section [{}] of key '{}'", setting.place, shown(section), shown(setting.key)),
                 near + "Use one of the sections " + sections + '.');
  }
  return Error(ExitCode::Usage, fmt::format("{}: unknown key '{}'", setting.place, shown(setting.key)),
               near + fmt::format("Use one of the keys of [{}]: {}.", section, names));
}

/// In a file it would hold for every later start too.
void refuse_keys_of_one_start(const std::vector<Setting>& of_a_file) {
  for (const Setting& setting : of_a_file)
    if (const Option* option = find_option(setting.key); option && option->of_one_start)
      throw Error(ExitCode::Usage, fmt::format("{}: {} belongs on the command line", setting.place, setting.key),
                  fmt::format("Leave it out of the file, and give --{}=VALUE to the one start that it is meant for.",
                              setting.key));
}

Config build(const std::vector<Setting>& settings) {
  Config config;
  std::map<std::string, std::string, std::less<>> places;
  for (const Setting& setting : settings) {
    const Option* option = find_option(setting.key);
    if (!option) throw unknown_key(setting);
    set_value(*option, config, setting.value, setting.place);
    places[setting.key] = setting.place;
  }
  const PlaceOf place_of = [&](std::string_view key) {
    const auto found = places.find(key);
    return found == places.end() ? std::string() : found->second;
  };
  derive(config, place_of);
  validate(config, place_of);
  return config;
}

std::string read_config(const std::string& path) {
  constexpr std::streamsize kLargest = 1 << 20;
  std::error_code unknown;
  if (const auto type = std::filesystem::status(path, unknown).type();
      type != std::filesystem::file_type::regular && type != std::filesystem::file_type::directory && !unknown)
    throw Error(ExitCode::Usage, fmt::format("the configuration {} is not a regular file", path),
                "Write it to a file: every rank reads it, and a restart reads it again.");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargest + 1, '\0');
  if (file) file.read(text.data(), kLargest + 1);
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    const int reason = errno;
    throw Error(reason == EACCES || reason == EIO ? ExitCode::Io : ExitCode::Usage,
                fmt::format("cannot read the configuration {}: {}", path, std::strerror(reason)),
                "Check the path; the first argument is an ini file, everything else is --section.key=value.");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kLargest && text.find('\0') == std::string::npos)
    throw Error(ExitCode::Usage,
                fmt::format("{} has more than 1 MiB; a configuration is an ini file of a few KiB", path),
                "Give the ini file here; data files belong into data.path.");
  return text;
}

}  // namespace

Config parse_config(std::string_view text, const std::string& name, const std::vector<std::string>& overrides) {
  std::vector<Setting> settings = scan_ini(text, name);
  refuse_keys_of_one_start(settings);
  for (const std::string& text_of_override : overrides) settings.push_back(split_override(text_of_override));
  return build(settings);
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_config(path.empty() ? std::string() : read_config(path), path, overrides);
}

std::string render_config(const Config& config) {
  std::string text;
  std::string_view section;
  for (const Option& option : options()) {
    if (option.of_one_start) continue;
    if (option.section() != section) {
      section = option.section();
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    const std::string value = quote_value(value_text(option, config));
    text += fmt::format("{} ={}{}\n", option.name(), value.empty() ? "" : " ", value);
  }
  return text;
}

std::string config_identity(const Config& config) {
  std::string text;
  for (const Option& option : options())
    if (option.decides == Decides::Numbers) text += fmt::format("{}={}\n", option.key, value_text(option, config));
  return text;
}

}  // namespace memring
