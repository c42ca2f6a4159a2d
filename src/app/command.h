// What main hands to a subcommand, and the subcommands: one function each, in a file of that name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

namespace memring {

/// A command line after parsing. Options of the subcommand itself are checked against its list in commands.cpp;
/// `--section.key=value` is only collected here: load_config checks it.
struct CommandLine {
  int argc = 0;  ///< as the process got them: with_session passes them to MPI
  char** argv = nullptr;
  std::string program, command;
  std::vector<std::string> arguments;          ///< positional, as many as the subcommand allows
  std::vector<std::string> overrides;          ///< "--section.key=value", in order
  std::map<std::string, std::string> options;  ///< the subcommand's own, without "--"; defaults filled in

  bool given(const std::string& option) const;  ///< stands on the command line (a default does not count)
  const std::string& text(const std::string& option) const;
  double number(const std::string& option) const;

  std::vector<std::string> given_options;
};

/// Each returns the exit code, or throws Error. Those that start MPI do so through with_session.
int run_train(const CommandLine&);  ///< arguments: CONFIG.ini
int run_eval(
    const CommandLine&);  ///< arguments: CONFIG.ini or run directory; checkpoint ("" = newest). --json is --eval.json
int run_pack(const CommandLine&);     ///< arguments: files, folders or "-"; out, tokenizer
int run_inspect(const CommandLine&);  ///< arguments: path; positions
int run_convert(const CommandLine&);  ///< arguments: run directory or checkpoint; merge, out, to-peft, base
int run_verify(const CommandLine&);   ///< arguments: fixtures; loss-tolerance, state-tolerance, gradient-tolerance (0 =
                                      ///< by data type)
int run_bench(const CommandLine&);    ///< arguments: name of a benchmark, or none; json, pairs
int run_doctor(const CommandLine&);

}  // namespace memring
