// RepeatedText: sequences that are read once, and asked for once more (objective.kind = reconstruct).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "data/dataset.h"

namespace memring {

/// With x_0 .. x_(n-1) a sequence of `text`, half as long as what is asked for, the sequence is
///   tokens   x_0 .. x_(n-1), kRepeatToken, x_0 .. x_(n-2)
///   targets  (not counted),  x_0, x_1 .. x_(n-1)
/// so that all that is counted is read from memory, its first segment of nothing else (auto-encoding: Ge et al. 2023,
/// "In-context Autoencoder"; the repeat token of Li et al. 2024, "UIO-LLMs"). Half a sequence is whole segments.
class RepeatedText final : public Dataset {
 public:
  explicit RepeatedText(std::unique_ptr<Dataset> text) : text_(std::move(text)) {}

  std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const override;
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const override;
  int64_t sequences() const override { return text_->sequences(); }
  int64_t tokens() const override { return text_->tokens(); }
  int64_t fewest_segments() const override { return 2 * text_->fewest_segments(); }
  std::string digest() const override { return text_->digest(); }
  void expect_unchanged(const std::function<void()>& progress) const override { text_->expect_unchanged(progress); }
  std::string description() const override { return text_->description() + ", each read and then repeated"; }

 private:
  std::unique_ptr<Dataset> text_;
};

}  // namespace memring
