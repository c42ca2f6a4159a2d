// SPDX-License-Identifier: Apache-2.0
#include "base/as_error.h"

#include <filesystem>
#include <new>
#include <system_error>

#include "base/memory_limits.h"

namespace memring {
namespace {

constexpr const char* kPermissions = "Check the path and its permissions.";

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

Error as_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  if (dynamic_cast<const std::bad_alloc*>(&exception)) return out_of_memory();
  if (const auto* files = dynamic_cast<const std::filesystem::filesystem_error*>(&exception))
    return {ExitCode::Io, fmt::format("{}: {}", files->path1().string(), files->code().message()), kPermissions};
  if (const auto* system = dynamic_cast<const std::system_error*>(&exception)) {
    if (system->code() == std::errc::resource_unavailable_try_again)
      return out_of_threads("the system does not start another thread");
    if (system->code() == std::errc::not_enough_memory) return out_of_memory();
    return {ExitCode::Io, fmt::format("the system refused a call: {}", system->what()), kPermissions};
  }
  return {ExitCode::Internal, fmt::format("unexpected error: {}", exception.what()),
          "This is a bug in memring; please report it with the command line."};
}

Error out_of_threads(const std::string& message) {
  return {ExitCode::Io, message,
          "Raise the limit of processes (ulimit -u, pids.max) or of memory (ulimit -v), or set device.threads lower."};
}

Error out_of_memory(int64_t bytes) {
  constexpr const char* kHint =
      "Use a smaller data.micro_batch or model, more ranks, or a machine or a job with more memory.";
  try {
    const MemoryLimit limit = tightest_memory_limit(1);
    return {ExitCode::Io,
            fmt::format("out of memory{}; the limit that counts is {}, {:.1f} MiB in all",
                        bytes > 0 ? fmt::format(": {:.1f} MiB were refused", mib(bytes)) : "", limit.name,
                        mib(limit.total)),
            kHint};
  } catch (const std::bad_alloc&) {  // not even for this
    return {ExitCode::Io, "out of memory", kHint};
  }
}

}  // namespace memring
