// Dataset: where batches come from. A batch is a pure function of the step and of the shape that its sequences are to
// have, the same on any mesh and after any restart, so that nothing of it needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "config/config.h"
#include "data/token_source.h"

namespace memring {

class Dataset {
 public:
  virtual ~Dataset() = default;
  /// The training batch of a step.
  virtual std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const = 0;
  /// For evaluation: sequences [first, first + count) in a fixed order. A task's are never trained on.
  virtual std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const = 0;
  virtual int64_t sequences() const = 0;  ///< that in_order() can give
  /// Tokens of one more sequence that in_order() gives by itself and at() never does: what is left of a text behind the
  /// last whole one. 0: nothing.
  virtual int64_t tail() const { return 0; }
  /// Of the text that batches come from; 0: there is none.
  virtual int64_t tokens() const { return 0; }
  virtual int64_t fewest_segments() const = 0;  ///< that a sequence must have
  /// Names the content, whatever its path; empty where the configuration says all.
  virtual std::string digest() const = 0;
  /// Throws Error(Data) when what batches were read from has been rewritten since. `progress` is called while it reads.
  virtual void expect_unchanged(const std::function<void()>& progress) const = 0;
  /// For the start lines.
  virtual std::string description() const = 0;
};

/// What data.kind names: a token file, or a synthetic memory task. Throws Error(Data) or Error(Usage) when it cannot be
/// used, or not for this model and these lengths.
std::unique_ptr<Dataset> open_dataset(const Config&);

/// The same for training: with the position ids of positions.kind, and the tokens that it chooses. Throws Error(Data)
/// also where no document is long enough for that.
std::unique_ptr<Dataset> open_training_dataset(const Config&);

}  // namespace memring
