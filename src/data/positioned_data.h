// PositionedData: a training dataset whose text gets drawn position ids.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/positions.h"

namespace memring {

/// What `text` gives, and in at() the ids of the policy. Evaluation (in_order) has plain ones.
class PositionedData final : public Dataset {
 public:
  PositionedData(std::unique_ptr<Dataset> text, Positions positions)
      : text_(std::move(text)), positions_(std::move(positions)) {}

  std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const override;
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape& shape) const override {
    return text_->in_order(first, count, shape);
  }
  int64_t sequences() const override { return text_->sequences(); }
  int64_t tail() const override { return text_->tail(); }
  int64_t tokens() const override { return text_->tokens(); }
  int64_t fewest_segments() const override { return text_->fewest_segments(); }
  std::string digest() const override { return text_->digest(); }
  void expect_unchanged(const std::function<void()>& progress) const override { text_->expect_unchanged(progress); }
  std::string description() const override { return text_->description(); }

 private:
  std::unique_ptr<Dataset> text_;
  Positions positions_;
};

}  // namespace memring
