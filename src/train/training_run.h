// TrainingRun: what a training step takes on this rank, and the step. Training and the benchmark of a step call the
// same one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/token_source.h"
#include "dist/gradient_sync.h"
#include "engine/engine.h"
#include "train/optimizer.h"

namespace memring {

/// What a step does to the weights: at which learning rate, and the how many-th update it is (from 1).
struct Update {
  double lr = 0;
  int64_t number = 1;
};

class TrainingRun {
 public:
  enum class Saves : uint8_t { None, Planned };  ///< whether a checkpoint's buffer will be taken, by another
  /// Plans for batches of data.batch sequences of these shapes, and refuses what does not fit; takes no memory yet.
  /// `ranks` and `node` must outlive it. Collective.
  TrainingRun(const Config&, Communicator& ranks, const NodeShare& node, std::vector<SequenceShape> shapes, Saves);
  /// Takes what was planned, and initialises the weights. Once.
  void allocate();

  /// Forward, backward, the reduction over ranks and the update, which leaves the new weights on every rank. `ask` adds
  /// this rank's wishes to the reduction; `decide` sees what came of it, the same on every rank, while the weights are
  /// still those it is about; without an update they stay. `number` is the step's, from 0. Collective.
  ReducedStep step(const TokenSource& batch, int64_t number, const std::function<void(StepSums&)>& ask,
                   const std::function<std::optional<Update>(const ReducedStep&)>& decide);

  Mesh& mesh() { return mesh_; }
  const Mesh& mesh() const { return mesh_; }
  Engine& engine() { return engine_; }
  const Engine& engine() const { return engine_; }
  Range shard() const { return sync_.shard(); }
  Optimizer& optimizer() { return *optimizer_; }  ///< once allocated

 private:
  void enter(Phase);

  const RunConfig run_;
  const OptimizerConfig update_;
  Progress* progress_;
  Mesh mesh_;
  Model model_;
  GradientSync sync_;
  Engine engine_;
  std::optional<Optimizer> optimizer_;
};

}  // namespace memring
