// SPDX-License-Identifier: Apache-2.0
#include "train/run_directory.h"

#include <charconv>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/text.h"
#include "io/file.h"

namespace memring {
namespace {

std::map<std::string, std::string> lines_of(const std::string& text) {
  std::map<std::string, std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);)
    if (const size_t equals = line.find('='); equals != std::string::npos)
      lines[line.substr(0, equals)] = line.substr(equals + 1);
  return lines;
}

/// Whole and on the disk before it gets its name: half a file would keep the run from being resumed.
void write_whole(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".tmp";
  try {
    write_text_file(fresh, text);
    rename_durably(fresh, path);
  } catch (const Error&) {
    std::error_code ignored;
    std::filesystem::remove(fresh, ignored);
    throw;
  }
}

}  // namespace

std::string checkpoint_directory(const std::string& run) { return run + "/checkpoints"; }
std::string config_file(const std::string& run) { return run + "/config.ini"; }
std::string metrics_file(const std::string& run) { return run + "/metrics.jsonl"; }
std::string progress_file(const std::string& run) { return run + "/progress"; }

std::vector<std::string> differing_lines(const std::string& then, const std::string& now) {
  const auto old_lines = lines_of(then), new_lines = lines_of(now);
  std::vector<std::string> differences;
  for (const auto& [key, value] : new_lines) {
    const auto found = old_lines.find(key);
    const std::string before = found == old_lines.end() ? "(not there)" : found->second;
    if (before != value) differences.push_back(fmt::format("{}: {} -> {}", key, before, value));
  }
  return differences;
}

void make_run_directory(const std::string& run) {
  std::error_code failure;
  std::filesystem::create_directories(run, failure);
  if (failure)
    throw Error(ExitCode::Io, fmt::format("the run directory {} cannot be made: {}", run, failure.message()),
                "Choose another run.dir, or mend its permissions.");
}

bool claim_run_directory(const Config& config) {
  const std::string& run = config.run.dir;
  const bool began_before = std::filesystem::exists(config_file(run));
  if (began_before) {
    const Config before = load_config(config_file(run), {});
    const auto differences = differing_lines(config_identity(before), config_identity(config));
    if (!differences.empty()) {
      std::string list;
      for (const auto& difference : differences) list += "\n    " + difference;
      throw Error(ExitCode::Usage, fmt::format("{} holds a run of another configuration:{}", run, list),
                  "Choose another run.dir for this configuration, or start with the old values to continue that run.");
    }
  }
  write_whole(config_file(run), render_config(config));
  return began_before;
}

void write_progress(const std::string& run, const TrainState& state) {
  write_whole(progress_file(run), fmt::format("step={}\ntokens={}\ntime={}\n", state.step, state.tokens, utc_now()));
}

void require_no_progress(const std::string& run) {
  const std::string path = progress_file(run);
  std::error_code unknown;  // what cannot be looked at is there: reading it says why
  if (std::filesystem::status(path, unknown).type() == std::filesystem::file_type::not_found) return;
  const auto lines = lines_of(read_text_file(path));
  const auto said = [&](const char* key) {
    const auto found = lines.find(key);
    return found == lines.end() ? std::string("?") : found->second;
  };
  throw Error(ExitCode::Data,
              fmt::format("{} holds no checkpoint, but this run had come to step {} ({} tokens), saved at {}",
                          checkpoint_directory(run), said("step"), said("tokens"), said("time")),
              fmt::format("Check that the file system or the folder that held them is there. To start anew on purpose, "
                          "remove {} (the log is kept), or choose another run.dir.",
                          path));
}

int64_t step_reached(const std::string& run) {
  std::error_code unknown;
  if (!std::filesystem::exists(progress_file(run), unknown)) return -1;
  const std::string text = lines_of(read_text_file(progress_file(run)))["step"];
  int64_t step = -1;
  std::from_chars(text.data(), text.data() + text.size(), step);
  return step;
}

}  // namespace memring
