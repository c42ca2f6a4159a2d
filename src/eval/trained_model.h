// TrainedModel: a checkpoint's weights in an engine that runs forward only, batch by batch over a dataset.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "data/dataset.h"
#include "dist/session.h"
#include "engine/engine.h"
#include "eval/other_settings.h"

namespace memring {

/// Which checkpoint to evaluate: the one of this path, or else the newest good one in a folder of checkpoints.
struct CheckpointChoice {
  std::string folder, path;
};

class TrainedModel {
 public:
  /// Loads the weights, once. Collective: rank 0 finds the checkpoint. Throws Error(Data) when there is none, or it is
  /// not good or of another model.
  TrainedModel(const Config&, const CheckpointChoice&, const Workload&, Session&);
  /// Whether there is something to compare with, and it is wanted: the memory crosses segments as in training.
  bool has_control() const { return has_control_; }
  /// From here on the memory is reset at every segment (the control experiment), or as in training again. The weights
  /// stay; nothing else is held twice. Collective.
  void reset_memory(bool each_segment);
  /// Sequences [begin, end) of the dataset, each cut to `shape`; what their cells compute goes to the sink, which gets
  /// their numbers within their batch. Returns seconds.
  double run(const Dataset&, Range sequences, const SequenceShape& shape, ResultSink&);
  int64_t batch() const { return workload_.batch; }  ///< sequences that run together
  const CheckpointSummary& checkpoint() const { return checkpoint_; }
  /// Of newer checkpoints that were passed over, in words.
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// Whether the model was trained on what the dataset holds.
  bool trained_on(const Dataset&) const;
  /// What is missing where the curriculum of its training was not finished; empty where it was.
  std::string unfinished() const;
  /// What the evaluation computes otherwise than the training.
  const std::vector<OtherSettings>& other() const { return other_; }

 private:
  void start(Arena weights);
  CheckpointSummary load(const CheckpointChoice&, const std::string& run);

  const EngineConfig engine_config_;
  const ModelConfig trained_;  ///< what of it, and upon which weights
  const ModelShape shape_;
  const MemorySettings memory_;  ///< as in training
  const bool has_control_;
  Session& session_;
  Workload workload_;
  Mesh mesh_;
  bool reset_ = false;
  std::optional<MemoryLimit> limit_;
  std::vector<std::string> warnings_;
  std::vector<OtherSettings> other_;
  std::optional<Model> model_;
  std::optional<Engine> engine_;
  CheckpointSummary checkpoint_;
};

}  // namespace memring
