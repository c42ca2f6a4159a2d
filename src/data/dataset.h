// Dataset: where batches come from. A batch is a pure function of the step and of the shape that its sequences are to
// have, the same on any mesh and after any restart, so that nothing of it needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  /// For evaluation: sequences [first, first + count) in a fixed order, apart from training where there is more than
  /// one file's worth.
  virtual std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const = 0;
  /// Names the content, whatever its path; empty where the configuration says all.
  virtual std::string digest() const = 0;
  /// For the start lines.
  virtual std::string description() const = 0;
};

/// What data.kind names: a token file, or a synthetic memory task. Throws Error(Data) when it cannot be used.
std::unique_ptr<Dataset> open_dataset(const Config&);

}  // namespace memring
