// Accuracy on a synthetic memory task by length and by depth of the key, with the memory and with the memory reset at
// every segment. Memory use does not grow with the length of a sample, nor with the number of lengths and depths.
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

/// So many of those asked for were right.
struct Accuracy {
  double right = 0, asked = 0;
  double value() const { return asked > 0 ? right / asked : 0; }
};

/// The interval that holds the true accuracy with 95 % confidence (Wilson 1927), answers being independent.
struct Interval {
  double low = 0, high = 1;
};
Interval confidence(const Accuracy&);

/// Teacher-forced: a token of the answer is right when it is the most probable one of the whole vocabulary behind the
/// right ones before it.
struct Answers {
  Accuracy tokens;
  Accuracy exact;      ///< samples all of whose tokens are right: exact match
  double nll = 0;      ///< sum over the tokens
  double seconds = 0;  ///< of the pass
};

struct TaskRow {
  SequenceShape shape;
  std::optional<double> depth;  ///< of eval.depths
  Answers as_trained;
  std::optional<Answers> reset;  ///< the control; absent where nothing crosses segments anyway
};

struct TaskAccuracy {
  std::string kind, checkpoint, data;
  std::vector<std::string> warnings;  ///< newer checkpoints that were passed over
  int64_t step = 0, samples = 0;
  std::string unfinished;            ///< of the curriculum of its training; empty: nothing
  std::vector<OtherSettings> other;  ///< than in training
  std::vector<TaskRow> rows;
  double peak_memory = 0;  ///< bytes, of the largest rank
};

/// Evaluates config.data.kind for each of eval.segments and eval.lengths, at each of eval.depths, on the chosen
/// checkpoint; `done` is told each row. Every row but for its length has the same samples. Collective, same result on
/// every rank.
TaskAccuracy evaluate_task(const Config&, const CheckpointChoice&, Session&,
                           const std::function<void(const TaskAccuracy&)>& done);

std::string to_json(const TaskAccuracy&);
/// The table's head, once there is a row, and its newest row.
std::string head_of(const TaskAccuracy&);
std::string newest_row(const TaskAccuracy&);
/// Exact match by depth and length as a picture, a line a depth; empty without eval.depths.
std::string heat_map(const TaskAccuracy&);

}  // namespace memring
