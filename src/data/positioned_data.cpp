// SPDX-License-Identifier: Apache-2.0
#include "data/positioned_data.h"

#include <vector>

namespace memring {
namespace {

/// A batch whose samples are numbered from the start of the run.
class PositionedTokens final : public TokenSource {
 public:
  PositionedTokens(std::unique_ptr<TokenSource> text, const Positions& positions, int64_t first_sample)
      : text_(std::move(text)), positions_(positions), first_sample_(first_sample) {}

  int64_t sequences() const override { return text_->sequences(); }
  SequenceShape shape() const override { return text_->shape(); }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    text_->read(sequence, begin, tokens, targets);
  }
  bool own_positions() const override { return true; }
  void positions(int64_t sequence, int64_t segment, std::span<int32_t> ids) const override {
    std::vector<int32_t> text, targets;
    if (positions_.reads_text()) {
      text.resize(ids.size());
      targets.resize(ids.size());
      text_->read(sequence, segment * shape().segment_length, text, targets);
    }
    positions_.draw(first_sample_ + sequence, segment, text, ids);
  }

 private:
  std::unique_ptr<TokenSource> text_;
  Positions positions_;
  int64_t first_sample_;
};

}  // namespace

std::unique_ptr<TokenSource> PositionedData::at(int64_t step, const SequenceShape& shape) const {
  auto text = text_->at(step, shape);
  const int64_t first_sample = step * text->sequences();
  return std::make_unique<PositionedTokens>(std::move(text), positions_, first_sample);
}

}  // namespace memring
