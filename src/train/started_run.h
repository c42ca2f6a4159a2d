// StartedRun: the parts of a training run, as its start has left them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/run_lock.h"
#include "config/config.h"
#include "data/dataset.h"
#include "dist/session.h"
#include "runlog/runlog.h"
#include "train/curriculum.h"
#include "train/saver.h"
#include "train/stop.h"
#include "train/training_run.h"

namespace memring {

/// Each part needs some of those before it. The session must outlive it.
struct StartedRun {
  /// Plans the run, takes its directory and its memory, says what it is about, and loads the checkpoint it goes on
  /// from. `told` are further lines of its start. Throws Error where one of these fails. Collective.
  StartedRun(const Config&, Session&, const SignalWatch&, const std::vector<std::pair<std::string, std::string>>& told);
  StartedRun(const StartedRun&) = delete;
  StartedRun& operator=(const StartedRun&) = delete;

  std::unique_ptr<Dataset> dataset;
  Curriculum curriculum;
  TrainingRun run;
  std::optional<RunLock> lock;
  RunLog log;
  std::unique_ptr<Saver> saver;
  Resumed resumed;
};

}  // namespace memring
