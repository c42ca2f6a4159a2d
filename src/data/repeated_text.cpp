// SPDX-License-Identifier: Apache-2.0
#include "data/repeated_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace memring {
namespace {

SequenceShape half_of(const SequenceShape& shape) {
  check(shape.length % (2 * shape.text_of(0)) == 0,
        fmt::format("a repetition of {} tokens in segments of {}", shape.length, shape.text_of(0)));
  return {shape.length / 2, shape.segment_length};
}

class RepeatedTokens final : public TokenSource {
 public:
  explicit RepeatedTokens(std::unique_ptr<TokenSource> text)
      : text_(std::move(text)), shape_{2 * text_->shape().length, text_->shape().segment_length} {}

  int64_t sequences() const override { return text_->sequences(); }
  SequenceShape shape() const override { return shape_; }

  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const int64_t half = shape_.length / 2;
    const auto first = static_cast<size_t>(std::clamp<int64_t>(half - begin, 0, std::ssize(tokens)));
    if (first > 0) {
      text_->read(sequence, begin, tokens.first(first), targets.first(first));
      std::fill_n(targets.begin(), first, kIgnoredTarget);
    }
    if (first == tokens.size()) return;
    // The target at position half + p is x_p, and the token the one before it.
    const int64_t at = std::max(begin - half, int64_t{0});
    const auto wanted = targets.subspan(first), given = tokens.subspan(first);
    std::vector<int32_t> behind(wanted.size());
    text_->read(sequence, at, wanted, behind);
    std::copy(wanted.begin(), wanted.end() - 1, given.begin() + 1);
    if (at == 0)
      given[0] = kRepeatToken;
    else
      text_->read(sequence, at - 1, given.first(1), std::span(behind).first(1));
  }

 private:
  std::unique_ptr<TokenSource> text_;
  SequenceShape shape_;
};

}  // namespace

std::unique_ptr<TokenSource> RepeatedText::at(int64_t step, const SequenceShape& shape) const {
  return std::make_unique<RepeatedTokens>(text_->at(step, half_of(shape)));
}

std::unique_ptr<TokenSource> RepeatedText::in_order(int64_t first, int64_t count, const SequenceShape& shape) const {
  return std::make_unique<RepeatedTokens>(text_->in_order(first, count, half_of(shape)));
}

}  // namespace memring
