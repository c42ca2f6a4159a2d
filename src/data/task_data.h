// TaskData: the dataset of a synthetic memory task; its noise is random words, or text from a token file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <memory>
#include <span>
#include <string>

#include "data/dataset.h"
#include "data/tasks.h"
#include "data/token_file.h"

namespace memring {

/// Sample i is a pure function of (run.seed, i) and of the shape asked for; training and held-out samples never share
/// numbers.
class TaskData final : public Dataset {
 public:
  /// Training counts the answer alone, or with another objective all tokens. Throws Error(Data) when data.path names no
  /// usable token file.
  TaskData(const DataConfig&, const TaskConfig&, uint64_t seed, ObjectiveKind = ObjectiveKind::Auto);
  /// The same samples, and the same file where there is one, written as this task says.
  TaskData with(const TaskConfig&) const;
  /// Throws Error(Usage) when a model's vocabulary, or a sequence of one of these shapes, is too small for the task.
  void expect_room(int64_t vocab, std::span<const SequenceShape>) const;
  std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const override;
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const override;
  std::string digest() const override;
  void expect_unchanged(const std::function<void()>& progress) const override;
  std::string description() const override;
  int64_t sequences() const override { return std::numeric_limits<int64_t>::max(); }
  int64_t fewest_segments() const override { return training_->fewest_segments(); }

 private:
  DataKind kind_;
  int64_t batch_;
  uint64_t seed_;
  bool answer_only_;  ///< in training
  std::shared_ptr<const Task> training_, held_out_;
  std::shared_ptr<const TokenFile> text_;  ///< noise; null: random words
  int32_t noise_words_;
};

/// The memory task that data.kind names, for the lengths of training and of evaluation. Throws Error(Data) or
/// Error(Usage) when it cannot be used for them.
TaskData open_task(const Config&);

}  // namespace memring
