// A subcommand's own options go through Boost.Program_options; --section.key=value is collected for load_config.
// SPDX-License-Identifier: Apache-2.0
#include "app/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/home.h"
#include "base/text.h"
#include "config/nearest.h"
#include "config/options.h"
#include "config/scanner.h"

namespace memring {
namespace {

namespace po = boost::program_options;

std::string see_help(const Command& command) {
  return fmt::format("Run `memring {} --help` for all options.", command.name);
}

Error unknown_option(const Command& command, std::string name) {
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored))
    return Error(ExitCode::Usage, fmt::format("memring {} has no option {}", command.name, shown(name)),
                 fmt::format("If the file of that name is meant, write ./{}", shown(name)));
  name.erase(0, std::min(name.find_first_not_of('-'), name.size()));
  std::vector<std::string_view> own{"help"};
  for (const CommandOption& option : command.options) own.push_back(option.name);
  std::string_view best = nearest(name, own);
  if (!command.sections.empty()) {
    const std::string_view key = nearest_key(name);
    if (edit_distance(name, key.substr(key.find('.') + 1)) < edit_distance(name, best)) best = key;
  }
  return Error(ExitCode::Usage, fmt::format("memring {} has no option --{}", command.name, shown(name)),
               fmt::format("Did you mean '--{}'? {}", best, see_help(command)));
}

/// A key that another command reads would have no effect; one that does not exist is left to load_config.
void refuse_other_section(const Command& command, const std::string& key) {
  const Option* option = find_option(key);
  if (!option ||
      std::find(command.sections.begin(), command.sections.end(), option->section()) != command.sections.end())
    return;
  throw Error(ExitCode::Usage, fmt::format("memring {} does not read {}", command.name, key),
              fmt::format("Leave --{} out. It reads [{}].", key, fmt::join(command.sections, "] [")));
}

/// Takes every --section.key=value out of `words`, up to a lone "--" (after which all is positional).
std::vector<std::string> take_overrides(const Command& command, std::vector<std::string>& words) {
  std::vector<std::string> overrides, rest;
  bool options = true;
  for (std::string& word : words) {
    if (word == "--") options = false;
    const bool override_word =
        options && word.starts_with("--") && word.substr(0, word.find('=')).find('.') != std::string::npos;
    if (!override_word) {
      rest.push_back(std::move(word));
      continue;
    }
    if (command.sections.empty())
      throw Error(ExitCode::Usage,
                  fmt::format("memring {} takes no configuration keys, found {}", command.name, shown(word)),
                  "Leave it out. " + see_help(command));
    refuse_other_section(command, split_override(word).key);
    overrides.push_back(std::move(word));
  }
  words = std::move(rest);
  return overrides;
}

void check_option(const Command& command, const CommandOption& option, const std::string& value) {
  auto refuse = [&](std::string_view expected) {
    throw Error(
        ExitCode::Usage,
        fmt::format("memring {}: --{} = '{}' is wrong; expected {}", command.name, option.name, shown(value), expected),
        fmt::format("Set it as in this example: --{}={}", option.name, option.example));
  };
  if ((option.kind == OptionKind::Text || option.kind == OptionKind::Path) && value.empty()) refuse("text");
  if (option.kind == OptionKind::Number) {
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || !std::isfinite(number) || number < 0)
      refuse(fmt::format("a number, {}", option.allowed));
  }
  if (option.kind == OptionKind::Choice &&
      fmt::format("|{}|", option.allowed).find(fmt::format("|{}|", value)) == std::string::npos)
    refuse(fmt::format("one of {}", option.allowed));
}

void check_arguments(const Command& command, const std::vector<std::string>& arguments) {
  const int count = static_cast<int>(arguments.size());
  if (const auto empty = std::find(arguments.begin(), arguments.end(), ""); empty != arguments.end())
    throw Error(
        ExitCode::Usage,
        fmt::format("memring {}: argument {} of {} is empty", command.name, empty - arguments.begin() + 1, count),
        "Check the variable that it comes from, or leave it out.");
  if (count >= command.least_arguments && (command.most_arguments < 0 || count <= command.most_arguments)) return;
  const std::string usage = fmt::format("Start it as `memring {}{}{}`. {}", command.name,
                                        command.usage.empty() ? "" : " ", command.usage, see_help(command));
  if (count < command.least_arguments)
    throw Error(ExitCode::Usage,
                fmt::format("memring {} needs {} argument{}, found {}", command.name, command.least_arguments,
                            command.least_arguments == 1 ? "" : "s", count),
                usage);
  throw Error(ExitCode::Usage,
              fmt::format("memring {} takes {}, found {}: '{}' is too many", command.name,
                          command.most_arguments == 0   ? std::string("no arguments")
                          : command.most_arguments == 1 ? std::string("one argument")
                                                        : fmt::format("{} arguments", command.most_arguments),
                          count, shown(arguments[static_cast<size_t>(command.most_arguments)])),
              usage);
}

po::variables_map parse_own(const Command& command, const std::vector<std::string>& words) {
  po::options_description described;
  described.add_options()("argument", po::value<std::vector<std::string>>()->default_value({}, ""));
  for (const CommandOption& option : command.options)
    if (option.kind == OptionKind::Flag)
      described.add_options()(std::string(option.name).c_str(), "");
    else
      described.add_options()(std::string(option.name).c_str(), po::value<std::string>());
  po::positional_options_description positional;
  positional.add("argument", -1);
  constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  po::variables_map values;
  try {
    po::store(po::command_line_parser(words).options(described).positional(positional).style(kStyle).run(), values);
  } catch (const po::unknown_option& error) {
    throw unknown_option(command, error.get_option_name());
  } catch (const po::multiple_occurrences& error) {
    throw Error(ExitCode::Usage,
                fmt::format("memring {}: {} is given more than once", command.name, error.get_option_name()),
                "Give it once. " + see_help(command));
  } catch (const po::error_with_option_name& error) {
    throw Error(ExitCode::Usage, fmt::format("memring {}: {} has no value", command.name, error.get_option_name()),
                fmt::format("Write {}=VALUE. {}", error.get_option_name(), see_help(command)));
  }
  return values;
}

}  // namespace

CommandLine parse_command_line(const Command& command, int argc, char** argv) {
  CommandLine line;
  line.argc = argc;
  line.argv = argv;
  line.program = argv[0];
  line.command = command.name;
  std::vector<std::string> words(argv + 2, argv + argc);
  line.overrides = take_overrides(command, words);
  const po::variables_map values = parse_own(command, words);
  line.arguments = values["argument"].as<std::vector<std::string>>();
  check_arguments(command, line.arguments);
  for (std::string& argument : line.arguments) argument = expand_home(argument);
  for (const CommandOption& option : command.options) {
    const std::string name(option.name);
    if (!values.count(name)) {
      if (option.required)
        throw Error(ExitCode::Usage, fmt::format("memring {} needs --{}", command.name, name),
                    fmt::format("Add --{} {}, for example --{} {}.", name, option.value, name, option.example));
      if (option.key.empty()) line.options[name] = option.preset;
      continue;
    }
    if (option.kind == OptionKind::Flag) {
      line.options[name] = "";  // a flag has no value: given() tells
      line.given_options.push_back(name);
      continue;
    }
    std::string value = values[name].as<std::string>();
    check_option(command, option, value);
    if (option.kind == OptionKind::Path) value = expand_home(value);
    if (option.key.empty())
      line.options[name] = value, line.given_options.push_back(name);
    else
      line.overrides.push_back(fmt::format("--{}={}", option.key, value));
  }
  return line;
}

bool CommandLine::given(const std::string& option) const {
  check(options.contains(option), "memring " + command + " has no option " + option);
  return std::find(given_options.begin(), given_options.end(), option) != given_options.end();
}

const std::string& CommandLine::text(const std::string& option) const {
  const auto found = options.find(option);
  check(found != options.end(), "memring " + command + " has no option " + option);
  return found->second;
}

double CommandLine::number(const std::string& option) const { return std::stod(text(option)); }

}  // namespace memring
