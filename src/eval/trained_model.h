// TrainedModel: a checkpoint's weights in an engine that runs forward only, batch by batch over a dataset.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "config/config.h"
#include "data/dataset.h"
#include "dist/session.h"
#include "engine/engine.h"
#include "io/checkpoint.h"

namespace memring {

/// The checkpoint named (a path, or a name in config.run.dir), or the newest good one; the same on every rank. Throws
/// Error(Data) when there is none.
std::string find_checkpoint(const Config&, const std::string& name);

/// The line under a result's head; empty where nothing is unfinished.
std::string warning_of(const std::string& unfinished);

class TrainedModel {
 public:
  /// Collective. Throws Error(Data) when the checkpoint is not good or is of another model.
  TrainedModel(const Config&, const std::string& checkpoint, const Workload&, Session&);
  /// Sequences [0, count) of the dataset, each cut to `shape`; what their cells compute goes to the sink. Returns
  /// seconds.
  double run(const Dataset&, int64_t count, const SequenceShape& shape, ResultSink&);
  int64_t step() const { return checkpoint_.step; }
  /// What is missing where the curriculum of its training was not finished; empty where it was.
  std::string unfinished() const;

 private:
  Mesh mesh_;
  Engine engine_;
  CheckpointSummary checkpoint_;
};

}  // namespace memring
