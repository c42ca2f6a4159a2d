// SPDX-License-Identifier: Apache-2.0
#include "train/run_directory.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/text.h"
#include "base/version.h"
#include "io/file.h"
#include "runlog/terminal.h"
#include "train/wait_together.h"

namespace memring {
namespace {

constexpr const char* kDigest = "data.digest=";

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

std::string data_line(const std::string& digest) { return fmt::format("{}{}\n", kDigest, digest); }
std::string data_line_in(const std::string& identity) {
  const size_t begin = identity.rfind(kDigest);
  return begin == std::string::npos ? "" : identity.substr(begin);
}

std::vector<std::string> differing_lines(const std::string& then, const std::string& now) {
  const auto old_lines = lines_of(then), new_lines = lines_of(now);
  const auto value_in = [](const std::map<std::string, std::string>& lines, const std::string& key) {
    const auto found = lines.find(key);
    return found == lines.end() ? "(not there)" : found->second;
  };
  auto all = new_lines;
  all.insert(old_lines.begin(), old_lines.end());
  std::vector<std::string> differences;
  for (const auto& [key, _] : all)
    if (const std::string before = value_in(old_lines, key), after = value_in(new_lines, key); before != after)
      differences.push_back(fmt::format("{}: {} -> {}", key, before, after));
  return differences;
}

void make_run_directory(const std::string& run) {
  std::error_code failure;
  std::filesystem::create_directories(run, failure);
  if (failure)
    throw Error(ExitCode::Io, fmt::format("the run directory {} cannot be made: {}", run, failure.message()),
                "Choose another run.dir, or mend its permissions.");
}

void lock_run_directory(std::optional<RunLock>& lock, Session& session, const SignalWatch& signals,
                        const RunConfig& run) {
  std::string in_use;
  const auto locked = [&] {
    if (session.rank() > 0 || lock) return true;
    try {
      make_run_directory(run.dir);
      lock.emplace(run.dir);
    } catch (const RunInUse& error) {
      if (error.here()) throw;
      if (in_use.empty() && run.wait > 0)
        Terminal(STDERR_FILENO)
            .write(
                fmt::format("memring: warning: {}, which cannot be seen from here: waiting up to {:g} s for its end\n",
                            error.what(), run.wait));
      in_use = error.what();
    }
    return lock.has_value();
  };
  if (wait_together(session, signals, run.wait, locked)) return;
  if (session.rank() > 0) return session.world().barrier();
  throw Error(ExitCode::Again, fmt::format("{}, still after {:g} s", in_use, run.wait),
              "Start the same command again: the lock of a host that is gone is given up in time. If that run still "
              "goes on, stop it, or choose another run.dir.");
}

std::string run_directory_of(const std::string& file) {
  namespace fs = std::filesystem;
  const fs::path path(file);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code ignored;
  // A configuration written by hand may lie beside a folder of checkpoints too: render_config's begin with run.dir.
  const bool run = path.filename() == "config.ini" && fs::is_regular_file(path, ignored) &&
                   (fs::exists(folder / "checkpoints", ignored) || fs::exists(folder / "lock", ignored)) &&
                   read_config(file).starts_with("[run]\ndir = ");
  return run ? folder.string() : "";
}

void refuse_newer_run(const std::string& config, const std::string& place) {
  const auto unknown = unknown_settings(config, place);
  if (!unknown.empty())
    throw Error(ExitCode::Usage,
                fmt::format("{} sets keys that this memring ({}) does not know; a newer one wrote them, or they are "
                            "misspelt:\n    {}",
                            place, version(), fmt::join(unknown, "\n    ")),
                "Start the memring that wrote it or a newer one, or give another run.dir for a new run.");
}

Config load_run_config(const std::string& run, const std::vector<std::string>& overrides) {
  const std::string file = config_file(run), text = read_config(file);
  refuse_newer_run(text, file);
  return parse_config(text, file, overrides);
}

bool claim_run_directory(const Config& config) {
  const std::string& run = config.run.dir;
  const bool began_before = exists_at(config_file(run));
  if (began_before) {
    const auto changed = changed_identity(load_run_config(run), config);
    if (!changed.empty()) {
      std::string list;
      for (const auto& [key, then, now] : changed) list += fmt::format("\n    {}: {} -> {}", key, then, now);
      throw Error(ExitCode::Usage, fmt::format("{} holds a run of another configuration:{}", run, list),
                  "Choose another run.dir for this configuration, or start with the old values to continue that run.");
    }
  } else {
    keep_configuration(config);
  }
  return began_before;
}

void keep_configuration(const Config& config) { write_whole(config_file(config.run.dir), render_config(config)); }

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
