// SPDX-License-Identifier: Apache-2.0
#include "train/frozen_weights.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "checkpoint/agreement.h"
#include "config/options.h"
#include "model/tensor_names.h"
#include "train/weights_source.h"

namespace memring {
namespace {

/// Where the base of an adapter lies: where it lay then, or at model.from = `from`.
std::string find_base(const WeightsSource& base, const std::string& from) {
  std::string others;
  for (const std::string& place : {base.path, from})
    for (const CheckpointSummary& checkpoint : checkpoints_at(place)) {
      if (checkpoint.digest == base.digest) return checkpoint.path;
      others += fmt::format("{}{} (digest {})", others.empty() ? "" : ", ", checkpoint.path, checkpoint.digest);
    }
  throw Error(
      ExitCode::Data,
      fmt::format("this run was trained on the frozen weights of {} (digest {}), which are not there, nor at "
                  "model.from = {}: {}",
                  base.path, base.digest, from, others.empty() ? "no checkpoint was found" : "found " + others),
      "Set model.from to where that checkpoint lies now. (A run removes its own older ones, checkpoint.keep: as base "
      "give a copy.)");
}

FlatBuffer frozen_of(const Params& params) {
  FlatBuffer frozen{{}, params.layout().size};
  for (size_t tensor = 0; tensor < params.layout().entries.size(); ++tensor)
    if (!params.trained(static_cast<int>(tensor))) frozen.entries.push_back(params.layout().entries[tensor]);
  return frozen;
}

}  // namespace

bool is_adapter(const Config& config) { return config.model.train != ModelConfig{}.train; }

std::vector<FlatEntry> load_base(Communicator& world, const CheckpointInfo& adapter, const std::string& from,
                                 FlatBuffer missing, View<> weights, Progress* progress) {
  std::string path;
  on_rank_0(world, [&] { path = find_base(adapter.source, from); });
  broadcast_text(world, path);
  const Matched matched = load_weights(world, path, missing, weights, progress);
  const Config there = parse_config(matched.source.info.config, path);
  if (matched.fresh.empty() || !is_adapter(there)) return matched.fresh;
  missing.entries = matched.fresh;
  return load_base(world, matched.source.info, there.model.from, std::move(missing), weights, progress);
}

void load_frozen(Communicator& world, const CheckpointInfo& adapter, const ModelConfig& config, const Params& params,
                 View<> weights, Progress* progress) {
  FlatBuffer frozen = frozen_of(params);
  if (!frozen.entries.empty())
    expect_frozen(load_base(world, adapter, config.from, std::move(frozen), weights, progress), params, config);
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
