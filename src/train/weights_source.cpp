// SPDX-License-Identifier: Apache-2.0
#include "train/weights_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "checkpoint/agreement.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "config/shapes.h"
#include "io/file.h"
#include "model/tensor_names.h"
#include "train/frozen_weights.h"
#include "train/run_directory.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(const std::string& path) { return exists_at(path + "/" + kManifestFile); }

/// The name of a file by which a model of another program is known; empty: there is none.
std::string foreign_file(const std::string& path) {
  constexpr std::string_view kTensors = ".safetensors";
  if (path.ends_with(kTensors)) return fs::path(path).filename();
  std::error_code unknown;
  for (const auto& entry : fs::directory_iterator(path, unknown))
    if (std::string name = entry.path().filename(); name == "config.json" || name.ends_with(kTensors)) return name;
  return {};
}

std::string tensors_text(const std::vector<FlatEntry>& tensors) {
  constexpr size_t kNamed = 8;
  return fmt::format("{} tensor{}: {}", tensors.size(), tensors.size() == 1 ? "" : "s", names_of(tensors, kNamed));
}

/// "memory: kind none there, rmt here; tokens 4 here", for each section that says what a model is and sees; without
/// values that have no effect on their side.
std::vector<std::string> differing_sections(const CheckpointInfo& source, const Config& now,
                                            const std::string& data_digest, const std::string& path) {
  refuse_newer_run(source.config, path);
  const Config there = parse_config(source.config, path);
  auto changed = changed_effects(there, now);
  if (data_line_in(source.identity) != data_line(data_digest))
    changed.push_back({"data.content", "another", "another"});
  std::vector<std::string> lines;
  for (const std::string section : {"model", "lora", "memory", "rope", "positions", "segment", "data", "task"}) {
    std::string text;
    for (const auto& [key, then, here] : changed) {
      std::vector<std::string> sides;
      if (then == here) sides.emplace_back("differs");
      if (then != here && !then.empty()) sides.push_back(then + " there");
      if (then != here && !here.empty()) sides.push_back(here + " here");
      if (key.starts_with(section + "."))
        text +=
            fmt::format("{}{} {}", text.empty() ? "" : "; ", key.substr(section.size() + 1), fmt::join(sides, ", "));
    }
    if (!text.empty()) lines.push_back(fmt::format("{}: {}", section, text));
  }
  return lines;
}

/// What model.from names: one checkpoint, or a folder of some, whose newest good one is meant.
struct NamedWeights {
  std::string path;
  bool is_folder = false;
};

Error nothing_at(const std::string& from) {
  return {ExitCode::Data,
          fmt::format("model.from = {} {}", from, exists_at(from) ? "holds no checkpoint" : "does not exist"),
          "Give a run directory or one of its checkpoints, or leave model.from out for fresh weights."};
}

NamedWeights find_weights(const std::string& from) {
  const std::string path = fs::absolute(from).lexically_normal();
  if (exists_at(path) && !folder_at(path) && foreign_file(path).empty()) throw nothing_at(from);
  if (is_checkpoint(path)) return {path, false};
  if (std::string folder = checkpoints_in(path); !checkpoint_directories(folder).empty())
    return {std::move(folder), true};
  if (const std::string file = foreign_file(path); !file.empty())
    throw Error(ExitCode::Usage, fmt::format("model.from = {} is a model of another program (it holds {})", from, file),
                "This memring starts from its own checkpoints: give a run directory or a checkpoint.");
  throw nothing_at(from);
}

/// The checkpoint to look at first. Where no manifest of a folder is good, the one that says what is wrong.
std::string newest_of(const NamedWeights& named) {
  if (!named.is_folder) return named.path;
  const auto good = list_checkpoints(named.path);
  return good.empty() ? checkpoint_directories(named.path).front().second : good.front().path;
}

}  // namespace

std::string checkpoints_in(const std::string& path) {
  return exists_at(checkpoint_directory(path)) ? checkpoint_directory(path) : path;
}

std::vector<CheckpointSummary> checkpoints_at(const std::string& path) {
  if (path.empty()) return {};
  if (is_checkpoint(path)) return {read_manifest(path)};
  return exists_at(path) ? list_checkpoints(checkpoints_in(path)) : std::vector<CheckpointSummary>();
}

void require_weights(const Config& config, Communicator& world, const Params& params) {
  if (config.model.from.empty()) {
    if (params.trained_layout().size == params.layout().size) return;
    throw Error(
        ExitCode::Usage,
        fmt::format("model.train = {} freezes the rest of the model, and model.from does not say what that holds",
                    config.model.train),
        "Set model.from to a run or a checkpoint, or model.train = all.");
  }
  on_rank_0(world, [&] {
    if (checkpoint_directories(checkpoint_directory(config.run.dir)).empty())
      match_weights(newest_of(find_weights(config.model.from)), params.layout());
  });
}

Matched load_named(Communicator& world, const std::string& from, const FlatBuffer& layout, View<> weights,
                   std::vector<std::string>& warnings, std::vector<CheckpointSummary>& bases, Progress* progress) {
  NamedWeights named;
  on_rank_0(world, [&] { named = find_weights(from); });
  broadcast_text(world, named.path);
  auto is_folder = static_cast<int64_t>(named.is_folder);
  world.broadcast(View<int64_t>(&is_folder, {1}), 0);
  auto matched = is_folder == 0 ? std::optional(load_weights(world, named.path, layout, weights, progress))
                                : load_newest_weights(world, named.path, layout, weights, warnings, progress);
  if (!matched) throw nothing_at(from);
  FlatBuffer missing{std::move(matched->fresh), layout.size};
  bases = load_bases(world, matched->source, from, missing, weights, progress);
  matched->fresh = std::move(missing.entries);
  return std::move(*matched);
}

std::string other_weights(const WeightsSource& then, const std::string& from_then, const std::string& from_now) {
  if (then.path.empty() && from_now.empty()) return {};
  const std::vector<CheckpointSummary> there = checkpoints_at(from_now);
  const bool same =
      std::any_of(there.begin(), there.end(), [&](const CheckpointSummary& c) { return c.digest == then.digest; });
  const bool gone_on = from_then == from_now && !is_checkpoint(from_now);
  if (!then.path.empty() && (same || gone_on)) return {};
  return fmt::format("model.from: {} -> {}",
                     then.path.empty() ? "fresh weights" : fmt::format("{} (digest {})", then.path, then.digest),
                     from_now.empty()    ? "fresh weights"
                     : there.size() == 1 ? fmt::format("{} (digest {})", from_now, there.front().digest)
                                         : from_now + ", which does not hold that checkpoint");
}

std::vector<std::string> describe_weights(const Matched& matched, const Config& now, const std::string& data_digest) {
  const CheckpointSummary& source = matched.source;
  std::vector<std::string> lines = {fmt::format("{} (step {}, digest {})", source.path, source.step, source.digest)};
  if (!matched.fresh.empty()) lines.push_back("not there, so fresh: " + tensors_text(matched.fresh));
  if (!matched.left.empty()) lines.push_back("not in this model, so left out: " + tensors_text(matched.left));
  for (std::string& line : differing_sections(source.info, now, data_digest, source.path))
    lines.push_back(std::move(line));
  return lines;
}

std::string doubtful_window(const Matched& matched, const Config& now) {
  const Config source = parse_config(matched.source.info.config, matched.source.path);
  const int64_t then = source.rope.original_length > 0 ? source.rope.original_length : window_of(source);
  // Whoever gave it meant it; otherwise it is this run's window (config/validate.cpp).
  const bool own = now.rope.original_length == window_of(now);
  if (!own || then == now.rope.original_length) return {};
  return fmt::format(
      "rope.original_length = {} is the window of this run, but the weights of model.from were trained with {}: "
      "start anew with --rope.original_length={}, unless that is meant",
      now.rope.original_length, then, then);
}

}  // namespace memring
