// Accuracy on a synthetic memory task by number of segments, with the memory and with the memory reset at every
// segment. Memory use does not grow with the length of a sample.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "config/config.h"
#include "dist/session.h"
#include "eval/trained_model.h"

namespace memring {

/// How many answers were right: the most probable token of the whole vocabulary is the target.
struct Answers {
  double right = 0, asked = 0;
  double nll = 0;      ///< sum over the answers
  double seconds = 0;  ///< of the pass
  double accuracy() const { return asked > 0 ? right / asked : 0; }
};

/// The interval that holds the true accuracy with 95 % confidence (Wilson 1927), answers being independent.
struct Interval {
  double low = 0, high = 1;
};
Interval confidence(const Answers&);

struct TaskRow {
  SequenceShape shape;
  Answers as_trained;
  std::optional<Answers> reset;  ///< the control; absent where nothing crosses segments anyway
};

struct TaskAccuracy {
  std::string kind, checkpoint, data;
  std::vector<std::string> warnings;  ///< newer checkpoints that were passed over
  int64_t step = 0, samples = 0;
  std::string unfinished;  ///< of the curriculum of its training; empty: nothing
  std::vector<TaskRow> rows;
  double peak_memory = 0;  ///< bytes, of the largest rank
};

/// Evaluates config.data.kind for each of eval.segments on the chosen checkpoint; `done` is told each row. Collective,
/// same result on every rank.
TaskAccuracy evaluate_task(const Config&, const CheckpointChoice&, Session&,
                           const std::function<void(const TaskAccuracy&)>& done);

std::string to_json(const TaskAccuracy&);
/// The table's head, and its newest row.
std::string head_of(const TaskAccuracy&);
std::string newest_row(const TaskAccuracy&);

}  // namespace memring
