// The table of subcommands: what each is for, its arguments, its own options and the configuration sections it reads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "app/command.h"

namespace memring {

enum class OptionKind : uint8_t { Text, Path, Number, Choice, Flag };

/// `--name=VALUE` or `--name VALUE` of one subcommand; a flag is `--name` alone.
struct CommandOption {
  std::string_view name, value;  ///< value: how help writes it, for example FILE
  OptionKind kind;
  std::string_view preset;   ///< default; empty = none
  std::string_view allowed;  ///< range, or the choices separated by '|'
  std::string_view help, example;
  bool required = false;
  std::string_view key{};  ///< the option is short for this config key
};

struct Command {
  std::string_view name, summary, usage, argument_help, example;
  int least_arguments, most_arguments;  ///< most < 0: no limit
  int (*run)(const CommandLine&);
  std::vector<CommandOption> options;
  std::vector<std::string> sections;  ///< of the configuration; empty: takes no --section.key=value
};

std::span<const Command> commands();

/// Throws Error(Usage) naming the nearest command when there is none of that name.
const Command& find_command(std::string_view name);

/// What `memring --help` and `memring COMMAND --help` print.
std::string general_help();
std::string command_help(const Command&);

}  // namespace memring
