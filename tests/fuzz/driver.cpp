// main() for a fuzz target where libFuzzer is not: replays a corpus, then runs seeded mutations of it. An input that
// crashes, takes longer than ten seconds or asks for more than 64 MiB at once ends the program, and is kept in a file.
// It takes libFuzzer's own options -runs and -seed.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "fault_log.h"
#include "mutate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count);

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostAtOnce = size_t{64} << 20;
constexpr unsigned kMostSeconds = 10;
constexpr size_t kMostBytes = size_t{1} << 20;

std::string current, crash_file;  // what is being tried, and where it goes should it crash

void keep_input(int signal) {
  const int file = ::open(crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || ::write(file, current.data(), current.size()) < 0) ::_exit(1);
  for (const std::string_view part :
       {std::string_view(signal == SIGALRM ? "a hang" : "a crash"), std::string_view("; the input is in "),
        std::string_view(crash_file), std::string_view("\n")})
    if (::write(STDERR_FILENO, part.data(), part.size()) < 0) ::_exit(1);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void try_input(const std::string& input) {
  current = input;
  ::alarm(kMostSeconds);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
  ::alarm(0);
}

/// The value of -NAME=NUMBER among the arguments.
int64_t option(const std::vector<std::string>& arguments, const std::string& name, int64_t otherwise) {
  for (const std::string& argument : arguments)
    if (argument.starts_with("-" + name + "="))
      std::from_chars(argument.data() + name.size() + 2, argument.data() + argument.size(), otherwise);
  return otherwise;
}

std::vector<std::string> corpus_of(const std::vector<std::string>& arguments) {
  std::vector<fs::path> paths;
  for (const std::string& argument : arguments)
    if (!argument.starts_with('-'))
      for (const auto& entry : fs::directory_iterator(argument))
        if (entry.is_regular_file()) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const fs::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

}  // namespace

void* operator new(size_t bytes) {
  if (bytes > kMostAtOnce) {
    fmt::print(stderr, "{} bytes were asked for at once\n", bytes);
    std::abort();
  }
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string name = fs::path(argv[0]).filename();
  const int64_t runs = option(arguments, "runs", 10000), seed = option(arguments, "seed", 1);
  crash_file = "crash-" + name;
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) {
    struct sigaction present {};  // a sanitizer's own stays
    if (::sigaction(signal, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) std::signal(signal, keep_input);
  }

  const std::vector<std::string> corpus = corpus_of(arguments);
  if (corpus.empty()) {
    fmt::print(stderr, "usage: {} [-runs=N] [-seed=N] CORPUS...   (folders; none of these holds a file)\n", name);
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& input : corpus) try_input(input);
  memring::test::Chance chance(static_cast<uint64_t>(seed));
  for (int64_t run = 0; run < runs; ++run) {
    std::string input = memring::test::mutated(corpus[memring::test::below(chance, corpus.size())], chance);
    input.resize(std::min(input.size(), kMostBytes));
    try_input(input);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}: {} files, {} mutations of them, {:.1f} s\n", name, corpus.size(), runs, seconds);
  memring::test::record_fault("F1", fmt::format("mutated input ({})", name), runs,
                              "no crash, no hang, no allocation above 64 MiB");
}
