// From a file or text and overrides to a Config: scan, look each key up, set its field, derive, validate; and back
// to text.
// SPDX-License-Identifier: Apache-2.0
#include "config/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

#include "base/device.h"
#include "base/error.h"
#include "base/text.h"
#include "config/lora_targets.h"
#include "config/number_list.h"
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

using Places = std::map<std::string, std::string, std::less<>>;

PlaceOf place_in(const Places& places) {
  return [&places](std::string_view key) {
    const auto found = places.find(key);
    return found == places.end() ? std::string() : found->second;
  };
}

Config build(const std::vector<Setting>& settings, Places& places) {
  Config config;
  for (const Setting& setting : settings) {
    const Option* option = find_option(setting.key);
    if (!option) throw unknown_key(setting);
    set_value(*option, config, setting.value, setting.place);
    places[setting.key] = setting.place;
  }
  derive(config, place_in(places));
  validate(config, place_in(places));
  return config;
}

bool decides(const Option& option, const Config& config) {
  return option.decides == Decides::Numbers ||
         (option.decides == Decides::StrictNumbers && config.run.deterministic == Determinism::Strict);
}

std::vector<Setting> settings_of(std::string_view text, const std::string& name,
                                 const std::vector<std::string>& overrides) {
  std::vector<Setting> settings = scan_ini(text, name);
  refuse_keys_of_one_start(settings);
  for (const std::string& text_of_override : overrides) settings.push_back(split_override(text_of_override));
  return settings;
}

/// Cosine and linear fall from the first step on towards an end, so there must be one; schedule constant is level where
/// there is none.
void refuse_decay_without_end(const Config& config, const Places& places) {
  const RateSchedule schedule = config.optimizer.schedule;
  if (config.run.steps > 0 || config.run.tokens > 0 || schedule == RateSchedule::Constant) return;
  const auto place = places.find("run.steps");
  throw Error(
      ExitCode::Usage,
      fmt::format("{}{}optimizer.schedule = {} decays until the run ends, but neither run.steps nor run.tokens says "
                  "when",
                  place == places.end() ? "" : place->second, place == places.end() ? "" : ": ", word_of(schedule)),
      "Set run.steps or run.tokens (run.time and run.target_loss may end the run before), or "
      "optimizer.schedule = constant.");
}

/// Of the run that starts: a run that was saved may have been on a device, and this program goes on with it elsewhere.
void refuse_device_without_backend(const Config& config, const Places& places) {
  if (config.device.kind != DeviceKind::Cuda || has_device_backend()) return;
  const auto place = places.find("device.kind");
  throw Error(ExitCode::Usage,
              fmt::format("{}device.kind = cuda, and this build has no CUDA backend",
                          place == places.end() ? "" : place->second + ": "),
              "Set device.kind = cpu, or auto for the best that is there.");
}

/// What a list says, whatever stands between its words and, where that is nothing, in whatever order they come: two
/// values that mean the same are equal. Other values as they are.
std::string meaning_of(const Option& option, std::string value) {
  if (option.kind != ValueKind::Text) return value;
  std::vector<std::string> words;
  if (option.key == "lora.targets") {
    const auto targets = parse_lora_targets(value);
    if (!targets) return value;
    for (const LoraTarget target : *targets) words.emplace_back(word_of(target));
  } else {
    for_each_word(value, [&](std::string_view word) {
      double number = 0;
      words.push_back(read_number(word, number) ? fmt::format("{}", number) : std::string(word));
    });
  }
  if (option.key == "lora.targets" || option.key == "model.train" || option.key == "positions.split") {
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
  }
  return fmt::format("{}", fmt::join(words, ","));
}

}  // namespace

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

Config parse_config(std::string_view text, const std::string& name, const std::vector<std::string>& overrides) {
  Places places;
  return build(settings_of(text, name, overrides), places);
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_config(path.empty() ? std::string() : read_config(path), path, overrides);
}

TrainingConfig load_training_config(const std::string& path, const std::vector<std::string>& overrides) {
  const auto settings = settings_of(path.empty() ? std::string() : read_config(path), path, overrides);
  Places places;
  TrainingConfig training{.config = build(settings, places), .unused = {}};
  for (const Setting& setting : settings) {
    const std::string unmet = unmet_conditions(*find_option(setting.key), training.config);
    if (unmet.empty()) continue;
    if (setting.place.starts_with("--"))
      throw Error(ExitCode::Usage,
                  fmt::format("{}: {} has no effect in this run; it counts with {}", setting.place, setting.key, unmet),
                  fmt::format("Leave {} out, or set what it counts with.", setting.place));
    training.unused.push_back(setting.key);
  }
  refuse_device_without_backend(training.config, places);
  refuse_decay_without_end(training.config, places);
  validate_training(training.config, place_in(places));
  return training;
}

std::vector<std::string> unknown_settings(std::string_view text, const std::string& name) {
  std::vector<std::string> unknown;
  for (const Setting& setting : scan_ini(text, name))
    if (!find_option(setting.key)) unknown.push_back(fmt::format("{} = {}", shown(setting.key), shown(setting.value)));
  return unknown;
}

std::vector<ChangedKey> changed_keys(const Config& then, const Config& now) {
  std::vector<ChangedKey> changed;
  for (const Option& option : options())
    if (std::string before = value_text(option, then), after = value_text(option, now);
        !option.of_one_start && before != after && meaning_of(option, before) != meaning_of(option, after))
      changed.push_back({std::string(option.key), std::move(before), std::move(after)});
  return changed;
}

std::vector<ChangedKey> changed_identity(const Config& then, const Config& now) {
  std::vector<ChangedKey> changed = changed_keys(then, now);
  std::erase_if(changed, [&](const ChangedKey& key) {
    const Option& option = *find_option(key.key);
    return !decides(option, then) || !decides(option, now);
  });
  return changed;
}

std::vector<ChangedKey> changed_effects(const Config& then, const Config& now) {
  std::vector<ChangedKey> changed = changed_identity(then, now);
  for (ChangedKey& key : changed) {
    const Option& option = *find_option(key.key);
    if (!unmet_conditions(option, then).empty()) key.then.clear();
    if (!unmet_conditions(option, now).empty()) key.now.clear();
  }
  std::erase_if(changed, [](const ChangedKey& key) { return key.then.empty() && key.now.empty(); });
  return changed;
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

std::string settings_text(const Config& config, std::string_view section) {
  const Config defaults;
  std::string text;
  for (const Option& option : options()) {
    if (option.section() != section || !unmet_conditions(option, config).empty()) continue;
    const std::string value = value_text(option, config);
    if (text.empty())
      text = value;
    else if (value != value_text(option, defaults))
      text += fmt::format(", {} {}", option.name(), shown(value));
  }
  return text;
}

std::string config_identity(const Config& config) {
  std::string text;
  for (const Option& option : options())
    if (decides(option, config)) text += fmt::format("{}={}\n", option.key, value_text(option, config));
  return text;
}

}  // namespace memring
