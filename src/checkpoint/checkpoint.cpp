// Checkpoints at rest: list, check, describe.
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/checkpoint.h"

#include <fmt/core.h>

#include "base/error.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"

namespace memring {

int64_t step_of(const NamedNumbers& state) { return state.get<int64_t>("step"); }
bool is_sound(const NamedNumbers& state) { return state.get<bool>("sound"); }

CheckpointSummary read_manifest(const std::string& path) {
  return summary_of(parse_manifest(manifest_text(path), path + "/" + kManifestFile), path);
}

std::vector<CheckpointSummary> list_checkpoints(const std::string& directory) {
  std::vector<CheckpointSummary> found;
  for (const auto& [step, path] : checkpoint_directories(directory)) {
    try {
      CheckpointSummary summary = read_manifest(path);
      if (summary.step == step) found.push_back(std::move(summary));
    } catch (const Error& error) {
      if (error.code() != ExitCode::Data) throw;
      // Without a valid manifest it is not a checkpoint; load_newest says so when it would have been the one to take.
    }
  }
  return found;
}

std::vector<std::string> verify_checkpoint(const std::string& path, Progress* progress) {
  try {
    const Manifest manifest = parse_manifest(manifest_text(path), path + "/" + kManifestFile);
    return check_blocks(manifest, path, {0, manifest.blocks()}, static_cast<size_t>(manifest.blocks()), progress);
  } catch (const Error& error) {
    if (error.code() != ExitCode::Data) throw;
    return {error.what()};
  }
}

}  // namespace memring
