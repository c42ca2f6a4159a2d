// memring: hands the command line to a subcommand and turns what goes wrong into one message and an exit code.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "app/command_line.h"
#include "base/as_error.h"
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

/// What the process takes for granted: descriptors 0 to 2 belong to the terminal (a file opened in the place of a
/// closed one would get our messages into it), a limit on the size of files is an error of write(), not the end, and of
/// a limited address space (ulimit -v) malloc reserves nothing for each thread, which would be 64 MiB.
void settle() {
  int descriptor = 0;
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) descriptor = open("/dev/null", O_RDWR);
  if (descriptor > STDERR_FILENO) close(descriptor);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit space{};
  if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) mallopt(M_ARENA_MAX, 1);
}

/// The code, unless what was printed could not be written.
int printed(int code) {
  if (code != 0 || std::fflush(stdout) == 0) return code;
  const int reason = errno;
  throw Error(ExitCode::Io, fmt::format("cannot write to standard output: {}", std::strerror(reason)),
              "Free space there, or send it elsewhere; all else was done.");
}

/// Help and version are answered here, before anything starts MPI.
int run(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first.empty())
    throw Error(ExitCode::Usage, "no command given",
                "Start it as `memring COMMAND`; `memring --help` lists the commands.");
  if (first == "--help" || first == "-h") return print(general_help()), 0;
  if (first == "--version") return print(fmt::format("memring {}\n", build())), 0;
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
    memring::settle();
    return memring::printed(memring::run(argc, argv));
  } catch (const std::exception& exception) {
    const int code = memring::report(memring::as_error(exception));
    std::fflush(stdout);
    std::_Exit(code);  // HDF5 1.10 crashes in its exit handler after a write that failed
  }
}
