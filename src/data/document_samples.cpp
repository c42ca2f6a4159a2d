// SPDX-License-Identifier: Apache-2.0
#include "data/document_samples.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text.h"

namespace memring {
namespace {

struct Sample {
  IdRuns tokens;         ///< of the file
  int64_t document_end;  ///< in it: what stands there belongs to another
};

class SampleTokens final : public TokenSource {
 public:
  SampleTokens(std::shared_ptr<const TokenFile> file, std::vector<Sample> samples, const SequenceShape& shape,
               int64_t vocab)
      : file_(std::move(file)), samples_(std::move(samples)), shape_(shape), vocab_(vocab) {}

  int64_t sequences() const override { return std::ssize(samples_); }
  SequenceShape shape() const override { return shape_; }

  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const auto count = std::ssize(tokens);
    check(sequence >= 0 && sequence < sequences() && begin >= 0 && count <= shape_.length - begin &&
              targets.size() == tokens.size(),
          fmt::format("positions {} to {} of sample {} with {} targets, of {} samples of {}", begin, begin + count,
                      sequence, targets.size(), sequences(), shape_.length));
    if (count == 0) return;
    const Sample& sample = samples_[static_cast<size_t>(sequence)];
    read_of(sample.tokens, begin, tokens);
    std::copy(tokens.begin() + 1, tokens.end(), targets.begin());
    const auto last = targets.last(1);
    if (const int64_t behind = sample.tokens.back().end; begin + count < shape_.length)
      read_of(sample.tokens, begin + count, last);
    else if (behind < sample.document_end)
      read_known(*file_, vocab_, behind, last);
    else
      last[0] = kIgnoredTarget;
  }

 private:
  /// The tokens of a sample from its `begin`-th on.
  void read_of(const IdRuns& runs, int64_t begin, std::span<int32_t> tokens) const {
    for (const Range& run : runs) {
      const int64_t now = std::clamp<int64_t>(run.size() - begin, 0, std::ssize(tokens));
      if (now > 0) read_known(*file_, vocab_, run.begin + begin, tokens.first(static_cast<size_t>(now)));
      tokens = tokens.subspan(static_cast<size_t>(now));
      begin = std::max<int64_t>(begin - run.size(), 0);
    }
  }

  std::shared_ptr<const TokenFile> file_;
  std::vector<Sample> samples_;
  SequenceShape shape_;
  int64_t vocab_;
};

}  // namespace

DocumentSamples::DocumentSamples(Loader text, Positions positions, int64_t most)
    : text_(std::move(text)), positions_(std::move(positions)) {
  const int64_t window = positions_.window(), longest_piece = most > 0 ? most : positions_.target();
  const std::vector<int64_t> borders = text_.file()->document_borders();
  int64_t longest = 0;
  for (size_t d = 0; d + 1 < borders.size(); ++d) {
    const int64_t end = borders[d + 1], length = end - borders[d];
    longest = std::max(longest, length);
    if (length <= window) continue;
    ++documents_;
    for (int64_t begin = borders[d]; end - begin >= window; begin += longest_piece)
      pieces_.push_back({{begin, std::min(end, begin + longest_piece)}, end});
  }
  if (pieces_.empty())
    throw Error(
        ExitCode::Data,
        fmt::format("no document of {} is longer than the window of {} tokens (found: {} at most, of {} "
                    "documents), and samples come from pieces of such",
                    text_.file()->path(), grouped(window), grouped(longest), grouped(text_.file()->documents())),
        "Pack longer documents, or set a shorter data.length: the window is what the model has learned already.");
}

std::unique_ptr<TokenSource> DocumentSamples::at(int64_t step, const SequenceShape& shape) const {
  check(shape.length == positions_.window(),
        fmt::format("samples of {} tokens, of a window of {}", shape.length, positions_.window()));
  const auto numbers = shuffled_batch(step, text_.options().batch, sequences(), text_.options().seed);
  std::vector<Sample> samples;
  for (const int64_t number : numbers) {
    const Piece& piece = pieces_[static_cast<size_t>(number)];
    const int64_t sample = step * std::ssize(numbers) + std::ssize(samples);
    IdRuns tokens = positions_.tokens(sample, piece.tokens.size());
    for (Range& run : tokens) run = {piece.tokens.begin + run.begin, piece.tokens.begin + run.end};
    samples.push_back({std::move(tokens), piece.document_end});
  }
  return std::make_unique<SampleTokens>(text_.file(), std::move(samples), shape, text_.options().vocab);
}

std::unique_ptr<TokenSource> DocumentSamples::in_order(int64_t, int64_t, const SequenceShape&) const {
  throw Error(ExitCode::Internal, "samples of documents were asked for in order",
              "This is a bug in memring; please report it.");
}

std::string DocumentSamples::description() const {
  const int64_t used = std::accumulate(pieces_.begin(), pieces_.end(), int64_t{0},
                                       [](int64_t sum, const Piece& piece) { return sum + piece.tokens.size(); });
  return fmt::format("{}: {} piece{} of {} documents longer than {} tokens, {} tokens used and {} unused",
                     text_.file()->path(), sequences(), sequences() == 1 ? "" : "s", documents_, positions_.window(),
                     grouped(used), grouped(text_.file()->tokens() - used));
}

}  // namespace memring
