// memring eval: loss and perplexity by position, with memory and with the memory reset at every segment.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "app/command.h"
#include "app/with_session.h"
#include "eval/perplexity.h"
#include "io/file.h"
#include "train/run_directory.h"

namespace memring {
namespace {

/// Before the work, which may take hours.
void expect_writable(const std::string& path) {
  std::error_code unknown;
  const bool folder = std::filesystem::is_directory(path, unknown), exists = std::filesystem::exists(path, unknown);
  if (!folder && ::access((exists ? path : folder_of(path)).c_str(), W_OK) == 0) return;
  throw Error(ExitCode::Io, fmt::format("cannot write {}: {}", path, std::strerror(folder ? EISDIR : errno)),
              "Choose another --json file, in a folder that exists.");
}

}  // namespace

int run_eval(const CommandLine& line) {
  return with_session(line.argc, line.argv, [&](Session& session) {
    const std::string& target = line.arguments[0];
    const bool is_run = std::filesystem::is_directory(target);
    // A run is evaluated on whatever ranks there are, wherever its directory has been moved to; the command line
    // decides.
    std::vector<std::string> settings;
    if (is_run) settings = {"mesh.data=0", "mesh.segment=1", "mesh.token=1", "data.micro_batch=0", "run.dir=" + target};
    settings.insert(settings.end(), line.overrides.begin(), line.overrides.end());
    if (is_run && !std::filesystem::exists(config_file(target)))
      throw Error(ExitCode::Data, fmt::format("folder {} is not a run directory: it holds no config.ini", target),
                  "Give the run.dir of a run, or a configuration.");
    const Config config = load_config(is_run ? config_file(target) : target, settings);
    if (session.rank() == 0 && !config.eval.json.empty()) expect_writable(config.eval.json);
    const Evaluation result = evaluate(config, line.text("checkpoint"), session);
    if (session.rank() != 0) return 0;
    fmt::print("{}", to_table(result));
    if (!config.eval.json.empty()) {
      std::ofstream file(config.eval.json, std::ios::trunc);
      file << to_json(result);
      if (!file.flush())
        throw Error(ExitCode::Io, fmt::format("{} cannot be written", config.eval.json), "Choose another --json file.");
    }
    return 0;
  });
}

}  // namespace memring
