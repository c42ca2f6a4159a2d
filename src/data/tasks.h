// Synthetic tasks by which recurrent memories are judged: a fact is shown once, and asked for many segments later.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/ids.h"
#include "base/random.h"
#include "config/config.h"

namespace memring {

/// How a task writes one sample into a sequence that is full of noise. Every draw comes from the sample's own random
/// numbers, so any range of any sample can be written alone, in memory that does not grow with its length.
///
/// The sources are Bulatov et al. 2022 (copy), Bulatov et al. 2023 (memorize, detect, reasoning) and Rodkin et al. 2024
/// (associative), Mohtashami & Jaggi 2023 (passkey).
class Task {
 public:
  virtual ~Task() = default;
  virtual int64_t vocab() const = 0;            ///< ids of its own are [0, vocab); noise follows
  virtual int64_t fewest_segments() const = 0;  ///< of a sequence
  virtual int64_t least_text() const = 0;       ///< tokens of a segment
  /// Targets from this position on are the answer.
  virtual int64_t answer_begin(const SequenceShape&) const = 0;
  /// Throws Error(Usage) where a sequence of this shape would ask for more than the task has.
  virtual void expect_enough_for(const SequenceShape&) const {}
  /// Writes what is not noise of positions [begin, begin + tokens.size()). Position shape.length is the last token of
  /// the answer: a target, and never read.
  virtual void write(const Random& draws, const SequenceShape&, int64_t begin, std::span<int32_t> tokens) const = 0;
};

/// `held_out` samples always follow the task's definition; training may mix others in (task.random_fact).
/// Null for DataKind::Tokens.
std::unique_ptr<Task> make_task(DataKind, const TaskConfig&, bool held_out);

}  // namespace memring
