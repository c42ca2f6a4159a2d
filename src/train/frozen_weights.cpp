// SPDX-License-Identifier: Apache-2.0
#include "train/frozen_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "checkpoint/agreement.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "io/file.h"
#include "model/tensor_names.h"
#include "train/kept_bases.h"
#include "train/weights_source.h"

namespace memring {
namespace {

/// Where checkpoints of one digest lie, and what is in the places without one, a line each.
struct Places {
  std::vector<std::string> paths;
  std::string others;
};

/// Of the base of `adapter`: in the folders of adapters before it and its own, where it lay then, and at `named`.
Places find_base(const CheckpointSummary& adapter, const std::vector<std::string>& folders,
                 const std::vector<std::string>& named) {
  const WeightsSource& base = adapter.info.source;
  Places places;
  std::set<std::string> seen;
  const auto look = [&](const std::string& place) {
    if (place.empty() || !seen.insert(place).second) return;
    std::string others;
    bool found = false;
    const auto failure = failure_of([&] {
      for (const CheckpointSummary& checkpoint : checkpoints_at(place)) {
        found = found || checkpoint.digest == base.digest;
        if (checkpoint.digest != base.digest)
          others += fmt::format("{}digest {}", others.empty() ? "another checkpoint, " : ", ", checkpoint.digest);
        else if (std::find(places.paths.begin(), places.paths.end(), checkpoint.path) == places.paths.end())
          places.paths.push_back(checkpoint.path);
      }
      if (!found && others.empty()) others = exists_at(place) ? "no checkpoint was found" : "does not exist";
    });
    if (!found) places.others += fmt::format("\n    {}: {}", place, failure ? failure->text : others);
  };
  const auto look_for_kept = [&](const std::string& folder) {
    const std::string kept = kept_base(folder, base.digest);
    if (checkpoint_exists(kept)) look(kept);
  };
  for (const std::string& folder : folders) look_for_kept(folder);
  look(base.path);
  for (const std::string& place : named) {
    look(place);
    look_for_kept(checkpoints_in(place));
  }
  return places;
}

/// Its folder of checkpoints, links followed.
std::string folder_with(const CheckpointSummary& checkpoint) {
  std::error_code gone;
  const std::filesystem::path path = std::filesystem::weakly_canonical(checkpoint.path, gone);
  return (path.has_filename() ? path : path.parent_path()).parent_path();
}

/// From the first good checkpoint of the base's digest. Collective.
Matched load_base(Communicator& world, const CheckpointSummary& adapter, const std::vector<std::string>& folders,
                  const std::vector<std::string>& named, const FlatBuffer& missing, View<> weights,
                  Progress* progress) {
  const WeightsSource& base = adapter.info.source;
  Places places;
  on_rank_0(world, [&] { places = find_base(adapter, folders, named); });
  auto count = static_cast<int64_t>(places.paths.size());
  world.broadcast(View<int64_t>(&count, {1}), 0);
  places.paths.resize(static_cast<size_t>(count));
  broadcast_text(world, places.others);
  ExitCode code = ExitCode::Data;
  for (std::string& path : places.paths) {
    broadcast_text(world, path);
    try {
      Matched matched = load_weights(world, path, missing, weights, progress);
      if (matched.source.digest == base.digest) return matched;
      places.others += fmt::format("\n    {}: another checkpoint by now", path);
    } catch (const NotUsableHere&) {
      throw;
    } catch (const Error& error) {
      if (error.code() != ExitCode::Data && error.code() != ExitCode::Io) throw;
      if (error.code() == ExitCode::Io) code = error.code();
      places.others += fmt::format("\n    {}: {}", path, error.what());
    }
  }
  throw Error(
      code,
      fmt::format("{} was trained on the frozen weights of {} (digest {}), of which there is no good copy:{}",
                  adapter.path, base.path, base.digest, places.others),
      fmt::format("Restore that checkpoint, or say where another copy lies: --model.from=PATH (memring convert: "
                  "--base=PATH), or a link {} to it.",
                  kept_base(folders.back(), base.digest)));
}

FlatBuffer frozen_of(const Params& params) {
  FlatBuffer frozen{{}, params.layout().size};
  for (size_t tensor = 0; tensor < params.layout().entries.size(); ++tensor)
    if (!params.trained(static_cast<int>(tensor))) frozen.entries.push_back(params.layout().entries[tensor]);
  return frozen;
}

}  // namespace

bool is_adapter(const Config& config) { return config.model.train != ModelConfig{}.train; }

Bases load_bases(Communicator& world, CheckpointSummary adapter, const std::string& from, FlatBuffer& missing,
                 View<> weights, Progress* progress) {
  Bases bases;
  std::vector<std::string> folders;
  while (!missing.entries.empty()) {
    const Config there = parse_config(adapter.info.config, adapter.path);
    if (!is_adapter(there)) break;
    folders.push_back(folder_with(adapter));
    Matched matched = load_base(world, adapter, folders, {from, there.model.from}, missing, weights, progress);
    missing.entries = std::move(matched.fresh);
    adapter = bases.emplace_back(std::move(matched.source));
  }
  return bases;
}

Bases load_frozen(Communicator& world, const CheckpointSummary& adapter, const ModelConfig& config,
                  const Params& params, View<> weights, Progress* progress) {
  FlatBuffer frozen = frozen_of(params);
  Bases bases = load_bases(world, adapter, config.from, frozen, weights, progress);
  expect_frozen(frozen.entries, params, config);
  return bases;
}

void expect_frozen(const std::vector<FlatEntry>& fresh, const Params& params, const ModelConfig& config) {
  std::vector<FlatEntry> lacking;
  for (const FlatEntry& entry : frozen_of(params).entries)
    if (std::any_of(fresh.begin(), fresh.end(), [&](const FlatEntry& other) { return other.name == entry.name; }))
      lacking.push_back(entry);
  if (lacking.empty()) return;
  throw Error(ExitCode::Usage,
              fmt::format("model.train = {} freezes what model.from = {} does not have: {}", config.train, config.from,
                          names_of(lacking, 8)),
              "Add these names to model.train, so that they learn.");
}

}  // namespace memring
