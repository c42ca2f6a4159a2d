// memring: hands the command line to a subcommand and turns what goes wrong into one message and an exit code.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string_view>

#include "app/command_line.h"
#include "app/with_session.h"
#include "base/version.h"

namespace memring {
namespace {

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

/// --help counts up to a lone "--", behind which everything is an argument.
bool asks_for_help(int argc, char** argv) {
  for (int i = 2; i < argc && std::string_view(argv[i]) != "--"; ++i)
    if (std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") return true;
  return false;
}

/// Help and version are answered here, before anything starts MPI.
int run(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.empty())
    throw Error(ExitCode::Usage, "no command given",
                "Start it as `memring COMMAND`; `memring --help` lists the commands.");
  if (first == "--help" || first == "-h") return print(general_help()), 0;
  if (first == "--version") return print(fmt::format("memring {}\n", version())), 0;
  const Command& command = find_command(first);
  if (asks_for_help(argc, argv)) return print(command_help(command)), 0;
  return command.run(parse_command_line(command, argc, argv));
}

int report(const Error& error) {
  std::fprintf(stderr, "memring: %s\n", error.what());
  if (!error.hint().empty()) std::fprintf(stderr, "  %s\n", error.hint().c_str());
  return static_cast<int>(error.code());
}

}  // namespace
}  // namespace memring

int main(int argc, char** argv) {
  try {
    return memring::run(argc, argv);
  } catch (const std::exception& exception) {
    return memring::report(memring::as_error(exception));
  }
}
