// memring inspect: says what a token file, a fixture, a checkpoint or a run directory holds, and checks its digests.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "app/command.h"
#include "app/inspect_positions.h"
#include "base/error.h"
#include "base/text.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "data/token_file.h"
#include "io/file.h"
#include "io/fixture.h"
#include "io/hdf5.h"
#include "train/frozen_weights.h"
#include "train/kept_bases.h"
#include "train/run_directory.h"
#include "train/soundness.h"
#include "train/train_state.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy =
    "Give a token file (memring pack), a fixture (tests/golden), a checkpoint or a run directory.";

constexpr const char* kDamaged =
    "Copy it again, or remove it: a run goes on from the newest checkpoint that is intact.";

/// "PATH: FAULT" of everything damaged.
using Faults = std::vector<std::string>;

Faults print_faults(const std::string& path, const std::vector<std::string>& faults) {
  fmt::print("digests          {}\n",
             faults.empty() ? "all correct" : fmt::format("{} WRONG: the data is damaged", faults.size()));
  Faults named;
  for (const std::string& fault : faults) named.push_back(path + ": " + fault);
  return named;
}

/// Ini text under a heading, indented.
void print_config(const std::string& config) {
  fmt::print("config\n");
  for (size_t begin = 0; begin < config.size();) {
    const size_t end = std::min(config.find('\n', begin), config.size());
    if (end > begin) fmt::print("    {}\n", config.substr(begin, end - begin));
    begin = end + 1;
  }
}

Faults inspect_token_file(const std::string& path) {
  const TokenFile file(path);
  fmt::print("{}: token file\n", path);
  fmt::print("tokens           {}\n", grouped(file.tokens()));
  fmt::print("documents        {}\n", grouped(file.documents()));
  fmt::print("tokenizer        {} (vocab {})\n", file.tokenizer(), grouped(file.vocab()));
  fmt::print("content digest   {}\n", file.digest());
  return print_faults(path, file.verify());
}

Faults inspect_fixture(const std::string& path) {
  const Fixture fixture = read_fixture(path);
  int64_t numbers = 0;
  for (const auto& [name, tensor] : fixture.params) numbers += tensor.shape.elements();
  fmt::print("{}: fixture (it holds no digests: memring verify computes it)\n", path);
  fmt::print("batch            {} sequences of {} tokens\n", fixture.batch[0], fixture.batch[1]);
  fmt::print("parameters       {} tensors, {} numbers\n", fixture.params.size(), grouped(numbers));
  fmt::print("expected loss    {:.12g}\n", fixture.loss);
  fmt::print("expected logits  {}\n", fixture.logits.values.empty() ? "none" : fixture.logits.shape.text());
  fmt::print("expected state   {}\n", fixture.state.empty() ? "none" : fmt::format("{} tensors", fixture.state.size()));
  for (const auto& [name, tensor] : fixture.state) fmt::print("    {} {}\n", name, tensor.shape.text());
  print_config(fixture.config);
  if (!fixture.note.empty()) fmt::print("note             {}\n", fixture.note);
  return {};
}

Faults inspect_checkpoint(const CheckpointSummary& checkpoint, bool full) {
  const TrainState state = train_state(checkpoint.state);
  const CheckpointInfo& info = checkpoint.info;
  fmt::print("{}: checkpoint\n", checkpoint.path);
  fmt::print("step             {} ({} tokens, {} steps skipped, {:.0f} s of training)\n", grouped(checkpoint.step),
             grouped(state.tokens), state.skipped, state.seconds);
  fmt::print("sound            {}{}\n", checkpoint.sound ? "yes" : "NO",
             state.best_loss > 0 ? fmt::format(" ({})", describe_loss(state)) : "");
  fmt::print("digest           {}\n", checkpoint.digest);
  fmt::print("parameters       {} tensors, {} numbers, {}\n", checkpoint.layout.entries.size(),
             grouped(checkpoint.layout.size), name_of(checkpoint.stored));
  fmt::print("written by       memring {}, {} ranks of {} threads, mesh {}, {}, {}\n", info.version, info.ranks,
             info.threads, info.mesh, info.isa, info.dtype);
  if (!info.source.path.empty()) {
    const bool adapter = is_adapter(parse_config(info.config, checkpoint.path));
    const std::string kept = kept_base(folder_of(checkpoint.path), info.source.digest);
    fmt::print("{:<16} {} (digest {}){}{}\n", adapter ? "base" : "started from", info.source.path, info.source.digest,
               adapter ? ", which holds the frozen rest of the model" : "",
               checkpoint_exists(kept) ? fmt::format(", kept as {}", kept) : "");
  }
  if (full) {
    for (const FlatEntry& entry : checkpoint.layout.entries) fmt::print("    {} {}\n", entry.name, entry.shape.text());
    print_config(info.config);
  }
  const auto faults = verify_checkpoint(checkpoint.path);
  if (!faults.empty() && !checkpoint_exists(checkpoint.path))
    throw Error(ExitCode::Data, fmt::format("{} was removed while it was read", checkpoint.path),
                "A run that goes on keeps its newest checkpoints only: inspect the run directory.");
  return print_faults(checkpoint.path, faults);
}

/// Every checkpoint of a folder, newest first. One that a run removes meanwhile is no fault, only gone; where all of
/// them are, those that have come in their place are looked at.
Faults inspect_checkpoints(const std::string& folder) {
  Faults faults;
  std::set<int64_t> seen;
  int64_t gone = 0;
  for (bool again = true; again && gone == std::ssize(seen);) {
    again = false;
    for (const auto& [step, directory] : checkpoint_directories(folder)) {
      if (!seen.insert(step).second) continue;
      try {
        const Faults found = inspect_checkpoint(read_manifest(directory), false);
        faults.insert(faults.end(), found.begin(), found.end());
      } catch (const Error& error) {
        // The others are inspected all the same.
        const bool there = checkpoint_exists(directory);
        fmt::print("{}: {}\n", directory,
                   there ? "not a usable checkpoint" : "removed meanwhile, as a run does with its old checkpoints");
        if (there) faults.emplace_back(error.what());
        gone += !there;
        again = again || !there;
      }
    }
  }
  for (const std::string& base : base_directories(folder)) {
    fmt::print("{}: kept for the checkpoints that were trained on it\n", base);
    const Faults found = print_faults(base, verify_checkpoint(base));
    faults.insert(faults.end(), found.begin(), found.end());
  }
  return faults;
}

/// A run directory, its folder of checkpoints, or one checkpoint.
Faults inspect_folder(const std::string& path) {
  const std::string inside = (fs::path(path) / "checkpoints").string();
  const bool run = exists_at(inside);
  const bool several = !checkpoint_directories(run ? inside : path).empty();
  if (!several) require_no_progress(path);
  if (run && !several)
    throw Error(ExitCode::Data, fmt::format("run directory {} holds no checkpoint", path),
                "Train longer, or set checkpoint.every.");
  if (!several && !exists_at((fs::path(path) / kManifestFile).string()))
    throw Error(ExitCode::Data, fmt::format("folder {} is neither a checkpoint nor a run directory", path), kRemedy);
  return several ? inspect_checkpoints(run ? inside : path) : inspect_checkpoint(read_manifest(path), true);
}

Faults inspect_file(const std::string& path) {
  const auto format = [&] {
    const Hdf5File file = Hdf5File::open(path, "file", kRemedy);
    return file.has_attribute("format") ? file.text_attribute("format") : std::string();
  }();
  if (format.starts_with("memring-tokens-")) return inspect_token_file(path);
  if (format.starts_with("memring-fixture-")) return inspect_fixture(path);
  throw Error(
      ExitCode::Data,
      fmt::format("{} is HDF5, but neither a token file nor a fixture (attribute 'format' is \"{}\")", path, format),
      fmt::format("For a checkpoint give its folder. {}", kRemedy));
}

}  // namespace

int run_inspect(const CommandLine& line) {
  const std::string& path = line.arguments.at(0);
  if (line.given("positions")) {
    print_positions(path, line.overrides);
    return static_cast<int>(ExitCode::Done);
  }
  if (!line.overrides.empty())
    throw Error(ExitCode::Usage,
                fmt::format("memring inspect: {} has no effect without --positions", shown(line.overrides.front())),
                "Leave it out, or add --positions to see the position ids of a configuration.");
  const Faults faults = folder_at(path) ? inspect_folder(path) : inspect_file(path);
  if (faults.empty()) return static_cast<int>(ExitCode::Done);
  throw Error(ExitCode::Data, fmt::format("{} is damaged:\n    {}", path, fmt::join(faults, "\n    ")), kDamaged);
}

}  // namespace memring
