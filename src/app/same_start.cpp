// SPDX-License-Identifier: Apache-2.0
#include "app/same_start.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/version.h"
#include "checkpoint/agreement.h"
#include "config/options.h"
#include "config/values.h"
#include "train/run_directory.h"

namespace memring {
namespace {

constexpr std::array<std::string_view, 4> kOfAHost = {"device.threads", "device.memory", "device.isa", "data.path"};

std::string lines_of(const Config& config) {
  std::string text;
  for (const Option& option : options())
    if (std::find(kOfAHost.begin(), kOfAHost.end(), option.key) == kOfAHost.end())
      text += fmt::format("{}={}\n", option.key, value_text(option, config));
  return text;
}

void require_same_lines(Session& session, const std::string& lines) {
  require_same(
      session.world(), lines, ExitCode::Usage,
      [](const std::string& first, const std::string& mine) {
        return fmt::format("this rank was not started like rank 0 (rank 0 -> this rank):\n    {}",
                           fmt::join(differing_lines(first, mine), "\n    "));
      },
      "Start every rank with the same program and the same command line.");
}

}  // namespace

void require_same_program(Session& session, const std::string& command) {
  require_same_lines(session, fmt::format("memring command={}\nmemring version={}\nmemring sources={}\n", command,
                                          version(), sources()));
}

void require_same_start(Session& session, const Config& config) { require_same_lines(session, lines_of(config)); }

}  // namespace memring
