// memring eval: loss and perplexity by position, or accuracy on a memory task by number of segments, each with memory
// and with the memory reset at every segment.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <filesystem>
#include <optional>

#include "app/command.h"
#include "app/result_file.h"
#include "app/same_start.h"
#include "app/with_session.h"
#include "base/error.h"
#include "checkpoint/agreement.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "config/options.h"
#include "config/shapes.h"
#include "config/values.h"
#include "dist/separate_start.h"
#include "eval/perplexity.h"
#include "eval/task_accuracy.h"
#include "io/file.h"
#include "model/model.h"
#include "train/frozen_weights.h"
#include "train/run_directory.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

/// What the argument names.
struct Target {
  std::string config;      ///< path of the configuration, or its text
  bool is_text = false;    ///< from the manifest of a checkpoint whose run is not there
  std::string run;         ///< run directory; empty: what the configuration says
  std::string folder;      ///< of checkpoints; empty: that of the run
  std::string checkpoint;  ///< the only one that is meant; empty: the newest
};

/// The run directory in whose folder of checkpoints `path` lies (or which it is); empty: none, or one that only keeps
/// it, as the base of adapters: that is a checkpoint of another run.
std::string run_above(const std::string& path, int levels) {
  std::error_code error;
  fs::path run = fs::canonical(path, error);
  if (is_base_name(run.filename().string())) return {};
  for (; levels > 0; --levels) run = run.parent_path();
  return !error && exists_at(config_file(run.string())) ? run.string() : std::string();
}

Target find_target(const std::string& path) {
  Target target;
  target.config = path;
  if (!folder_at(path)) return target;
  target.run = path;
  std::optional<CheckpointSummary> newest;
  if (exists_at(path + "/" + kManifestFile)) {
    target.checkpoint = path;
    target.run = run_above(path, 2);
  } else if (const auto found = list_checkpoints(path); !found.empty()) {
    target.folder = path;
    target.run = run_above(path, 1);
    newest = found.front();
  } else if (!exists_at(config_file(path))) {
    throw Error(
        ExitCode::Data,
        fmt::format("folder {} is not a run directory (it holds no config.ini), and no checkpoint either", path),
        "Give the run.dir of a run, one of its checkpoints, or a configuration.");
  }
  target.is_text = target.run.empty();
  target.config = target.is_text ? (newest ? *newest : read_manifest(path)).info.config : config_file(target.run);
  return target;
}

/// Rank 0 finds, the others take: they may not see yet what is new on a network file system, or see it after a run has
/// removed it.
Target shared_target(const std::string& path, Session& session) {
  Target target;
  if (session.rank() == 0) target = find_target(path);
  std::string text = target.is_text ? "text" : "";
  for (std::string* part : {&target.config, &text, &target.run, &target.folder, &target.checkpoint})
    broadcast_text(session.world(), *part);
  target.is_text = !text.empty();
  return target;
}

CheckpointChoice choice_of(const Target& target, const std::string& name, const std::string& run) {
  if (!name.empty() && !target.checkpoint.empty())
    throw Error(ExitCode::Usage,
                fmt::format("{} is a checkpoint, and --checkpoint = {} names another one", target.checkpoint, name),
                "Give one of them.");
  const std::string folder = target.folder.empty() ? checkpoint_directory(run) : target.folder;
  if (name.empty()) return {folder, target.checkpoint};
  return {folder, name.find('/') != std::string::npos ? name : folder + "/" + name};
}

Config load(const Target& target, const std::string& name, std::vector<std::string> settings,
            const std::vector<std::string>& overrides) {
  settings.insert(settings.end(), overrides.begin(), overrides.end());
  return target.is_text       ? parse_config(target.config, name, settings)
         : target.run.empty() ? load_config(target.config, settings)
                              : load_run_config(target.run, settings);
}

/// With `overrides` of the command line. Where a scaling of rotary frequencies asks for rope.original_length and
/// nothing says it, it is the window of the training, and not of this evaluation.
Config config_for(const Target& target, const std::string& name, std::vector<std::string> settings,
                  const std::vector<std::string>& overrides) {
  Config config = load(target, name, settings, overrides);
  if (config.rope.scaling == RopeScaling::None) return config;
  const Config trained = load(target, name, settings, {});
  const int64_t window = trained.rope.original_length;
  settings.push_back(fmt::format("rope.original_length={}", window > 0 ? window : window_of(trained)));
  return load(target, name, settings, overrides);
}

/// `result`: of either kind of evaluation.
void warn(const auto& result) {
  for (const std::string& warning : result.warnings) fmt::print(stderr, "memring: warning: {}\n", warning);
  if (!result.unfinished.empty()) fmt::print(stderr, "memring: warning: {}\n", result.unfinished);
}

void refuse_without_effect(const Config& config, const std::vector<std::string>& overrides) {
  for (const std::string_view key : {"eval.segments", "eval.lengths", "eval.depths"}) {
    const Option& option = *find_option(key);
    const std::string unmet = unmet_conditions(option, config);
    if (!unmet.empty() && !value_text(option, config).empty())
      throw Error(ExitCode::Usage,
                  fmt::format("{} is for {}; this is data.kind = {}", key, unmet, word_of(config.data.kind)),
                  fmt::format("Leave {} out; of a text, data.length is the length that is evaluated.", key));
  }
  for (const std::string& text : overrides)
    if (text.starts_with("--model.from=") && !is_adapter(config))
      throw Error(ExitCode::Usage, "model.from has no effect in an evaluation, whose weights are those of a checkpoint",
                  "Leave it out, and name the run or the checkpoint itself: memring eval runs/books.");
}

/// Only training by repetitions makes the vector that they begin with; an adapter may have it of its base.
void refuse_to_repeat(const Config& config, const Config& trained) {
  if (trained.objective.kind == ObjectiveKind::Reconstruct || is_adapter(trained)) return;
  throw Error(
      ExitCode::Usage,
      fmt::format("objective.kind = {} needs {}, and this model was trained without it (objective.kind = {})",
                  word_of(config.objective.kind), kRepeatVector, word_of(trained.objective.kind)),
      "Leave objective.kind out, or train a run with objective.kind = reconstruct on these weights (model.from).");
}

}  // namespace

int run_eval(const CommandLine& line) {
  return with_session(line.argc, line.argv, [&](Session& session) {
    refuse_separate_start(session);
    const Target target = shared_target(line.arguments[0], session);
    // A run is evaluated on whatever ranks there are, wherever its directory has been moved to; the command line
    // decides.
    std::vector<std::string> settings;
    const bool trained = target.config != line.arguments[0];
    if (trained) settings = {"mesh.data=0", "mesh.segment=1", "mesh.token=1", "data.micro_batch=0"};
    if (!target.run.empty()) settings.push_back("run.dir=" + target.run);
    const Config config = config_for(target, line.arguments[0], settings, line.overrides);
    session.watch(config.run.timeout);
    require_same_start(session, config);
    refuse_without_effect(config, line.overrides);
    if (trained && config.objective.kind == ObjectiveKind::Reconstruct)
      refuse_to_repeat(config, load(target, line.arguments[0], settings, {}));
    const CheckpointChoice choice = choice_of(target, line.text("checkpoint"), config.run.dir);
    const bool speaks = session.rank() == 0;
    if (speaks) expect_writable(config.eval.json);
    std::string json;
    double nll = 0;
    if (config.data.kind == DataKind::Tokens) {
      const Evaluation result = evaluate(config, choice, session);
      if (speaks) warn(result);
      if (speaks) fmt::print("{}", to_table(result));
      json = to_json(result);
      for (const PositionBucket& bucket : result.as_trained.buckets) nll += bucket.nll;
    } else {
      const TaskAccuracy result = evaluate_task(config, choice, session, [&](const TaskAccuracy& so_far) {
        if (!speaks) return;
        if (so_far.rows.size() == 1) warn(so_far);
        if (so_far.rows.size() == 1) fmt::print("{}", head_of(so_far));
        fmt::print("{}", newest_row(so_far));
        std::fflush(stdout);  // a row may take minutes
      });
      if (speaks) fmt::print("{}", heat_map(result));
      json = to_json(result);
      for (const TaskRow& row : result.rows) nll += row.as_trained.nll;
    }
    if (speaks) write_result(config.eval.json, json);
    if (std::isfinite(nll)) return static_cast<int>(ExitCode::Done);
    if (speaks)
      fmt::print(stderr,
                 "memring: the loss of this evaluation is no number\n  Look at what differs from training (rope.*), "
                 "and whether the checkpoint is sound: memring inspect tells.\n");
    return static_cast<int>(ExitCode::Numeric);
  });
}

}  // namespace memring
